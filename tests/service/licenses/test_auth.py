import sys
from base64 import b64encode
from hashlib import sha256
from types import SimpleNamespace

import httpx2 as httpx
import pytest
from starlette.responses import PlainTextResponse

from protocol.http.context import attach
from protocol.http.operation import Dialect, HeaderKey
from protocol.http.spool import Spool
from protocol.model import Feature, Saturated
from service.config.schema import LicenseSettings, Origin, SettingsError
from service.licenses.auth import Licensed, Licenses, check_against_store, fixed_licenses, new_key
from service.licenses.store import License, LicenseStore
from tests.clock import ManualClock
from transports.store import MemoryStore, StoreDown
from transports.store.port import LICENSES

KEY = "sk-fixed-0123456789"


class Store(MemoryStore):
    """A store that a test can take down."""

    down = False

    async def revisions(self):
        if self.down:
            raise StoreDown("out of order")
        return await super().revisions()


@pytest.fixture
def store():
    return Store(ManualClock())


@pytest.fixture
def license_store(store):
    return LicenseStore(store, ManualClock())


async def caller(licenses, key):
    return await licenses.caller(key.encode())


async def test_a_license_is_found_by_its_key_until_it_is_revoked(license_store, store):
    key = new_key()
    await license_store.add(License(id="team", models=("gemini-3-*",), created=1.0), key)
    licenses = Licenses([], license_store)
    found = await caller(licenses, key)
    assert (found.id, found.models) == ("team", ("gemini-3-*",))
    await LicenseStore(store, ManualClock()).revoke("team", 2.0)
    assert await caller(licenses, key) is None
    (revoked,) = await license_store.all()
    assert (revoked.id, revoked.models, revoked.created, revoked.revoked) == ("team", ("gemini-3-*",), 1.0, 2.0)
    assert await licenses.current(found.owner) is None


async def test_licenses_of_the_settings_are_valid_next_to_those_of_the_store(license_store):
    licenses = Licenses([("fixed-key-1", License(id="fixed"))], license_store)
    assert (await caller(licenses, "fixed-key-1")).id == "fixed"
    assert await caller(licenses, "fixed-key-2") is None


async def calls_of(work):
    """Return how many functions, built-in ones included, a piece of work calls."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        await work()
    finally:
        sys.setprofile(None)
    return calls


async def test_the_cost_does_not_depend_on_the_number_of_licenses():
    async def cost(number):
        store = MemoryStore(ManualClock())
        licenses = Licenses(
            [(f"fixed-key-{n}", License(id=f"fixed-{n}")) for n in range(number)],
            LicenseStore(store, ManualClock(), fresh_seconds=60.0),
        )
        for n in range(number):
            entry = b'{"digest":"%s","models":["*"],"created":1.0}' % b64encode(sha256(b"stored-key-%d" % n).digest())
            await store.put(LICENSES, f"stored-{n}", entry)
        found = []

        async def ask():
            found.extend([await caller(licenses, key) for key in ("fixed-key-0", "stored-key-0")])

        await ask()
        return await calls_of(ask), [one.id for one in found]

    few = await cost(1)
    assert few[1] == ["fixed-0", "stored-0"] * 2
    assert await cost(2000) == few


@pytest.mark.parametrize(
    "key", [b"", b"short", b"\xff\xfe\xfd\xfc" * 3, b"x" * 10_000, b"fixed key 1", b"fixed-key-1\x00", b"fixed-key-2"]
)
async def test_an_invalid_key_identifies_no_license(license_store, key):
    assert await Licenses([("fixed-key-1", License(id="fixed"))], license_store).caller(key) is None


async def test_the_caller_has_the_licenses_features(license_store):
    key = new_key()
    await license_store.add(License(id="team", features=(Feature.CHAT,)), key)
    licenses = Licenses([("fixed-key-1", License(id="fixed", features=(Feature.IMAGES,)))], license_store)
    assert (await caller(licenses, key)).features == (Feature.CHAT,)
    assert (await caller(licenses, "fixed-key-1")).features == (Feature.IMAGES,)


async def test_while_the_store_is_down_known_licenses_stay_valid_and_unknown_ones_get_an_error(license_store, store):
    known, unknown = new_key(), new_key()
    await license_store.add(License(id="team"), known)
    licenses = Licenses([("fixed-key-1", License(id="fixed"))], license_store)
    team = await caller(licenses, known)
    store.down = True
    assert (await caller(licenses, "fixed-key-1")).id == "fixed"
    assert (await licenses.current("fixed")).id == "fixed"
    assert await caller(licenses, known) == team
    assert await licenses.current(team.owner) == team
    for ask in (lambda: caller(licenses, unknown), lambda: licenses.current("other+1")):
        with pytest.raises(Saturated) as caught:
            await ask()
        assert (caught.value.code, caught.value.retry_after) == ("state_unavailable", 5.0)
    store.down = False
    assert await caller(licenses, unknown) is None


async def test_a_name_that_is_used_again_owns_nothing_of_the_earlier_license(license_store):
    licenses = Licenses([("fixed-key-1", License(id="fixed"))], license_store)
    owners = []
    for key in (new_key(), new_key()):
        await license_store.add(License(id="team"), key)
        owners.append((await caller(licenses, key)).owner)
        await license_store.revoke("team", 2.0)
    assert len({*owners, "team"}) == 3
    assert (await caller(licenses, "fixed-key-1")).owner == "fixed"


async def test_a_license_of_the_settings_takes_its_name_from_one_of_the_store(license_store):
    key = new_key()
    await license_store.add(License(id="team"), key)
    licenses = Licenses([], license_store)
    stored = await caller(licenses, key)
    licenses.fixed = [("fixed-key-1", License(id="team", features=(Feature.CHAT,)))]
    assert await caller(licenses, key) is None
    assert await licenses.current(stored.owner) is None
    fixed = await caller(licenses, "fixed-key-1")
    assert (fixed.features, fixed.owner != stored.owner) == ((Feature.CHAT,), True)
    assert await licenses.current(fixed.owner) == fixed


async def test_the_end_of_a_license_is_announced_to_what_holds_its_event(license_store, store):
    keys = {name: new_key() for name in ("team", "other")}
    for name, key in keys.items():
        await license_store.add(License(id=name), key)
    fixed = ("fixed-key-1", License(id="fixed"))
    licenses = Licenses([fixed], license_store)
    owners = [(await caller(licenses, key)).owner for key in (*keys.values(), "fixed-key-1")]
    events = [licenses.end_of(owner) for owner in owners]
    assert licenses.end_of(owners[0]) is events[0]
    await LicenseStore(store, ManualClock()).revoke("team", 2.0)
    await licenses.refresh()
    assert [event.is_set() for event in events] == [True, False, False]
    licenses.fixed = [("fixed-key-2", License(id="fixed", features=(Feature.CHAT,)))]  # another key of the same owner
    assert [event.is_set() for event in events] == [True, False, False]
    licenses.fixed = [("fixed-key-3", License(id="other"))]  # the settings take an id of the store
    assert [event.is_set() for event in events] == [True, True, True]
    assert not licenses.end_of("other").is_set()


async def test_no_license_ends_while_the_store_is_down(license_store, store):
    key = new_key()
    await license_store.add(License(id="team"), key)
    licenses = Licenses([], license_store)
    event = licenses.end_of((await caller(licenses, key)).owner)
    store.down = True
    with pytest.raises(OSError, match="cannot be looked up"):
        await licenses.refresh()
    assert not event.is_set()


@pytest.mark.parametrize(
    ("fixed", "words"),
    [
        (("fixed-key-1", License(id="team")), "'team' is in the store, too; revoke that one"),
        (("stored-key-1", License(id="fixed")), "'fixed' has the key of the license 'team' in the store"),
        (("fixed-key-1", License(id="fixed")), None),
    ],
)
async def test_settings_share_no_id_and_no_key_with_the_store(license_store, fixed, words):
    await license_store.add(License(id="team"), "stored-key-1")
    origin = Origin(name="x")
    if words is None:
        await check_against_store([fixed], license_store, origin)
    else:
        with pytest.raises(SettingsError, match=words) as caught:
            await check_against_store([fixed], license_store, origin)
        assert "key-1" not in str(caught.value)
    await license_store.revoke("team", 2.0)
    await check_against_store([fixed], license_store, origin)


def settings_of(*licenses):
    return tuple(LicenseSettings(**fields) for fields in licenses)


def test_a_key_may_be_in_a_file(tmp_path):
    (tmp_path / "key").write_text("key-in-a-file\n")
    found = fixed_licenses(settings_of({"id": "a", "key_file": tmp_path / "key"}), Origin(name="x"))
    assert found == [("key-in-a-file", License(id="a"))]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), (b"\xff\xfe" * 9, "8 to 256"), (b"\xff", "UTF-8"), (b"", "8 to 256")],
)
def test_a_file_without_a_key_is_named(tmp_path, content, words):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError, match=rf"x: licenses\[0\].*{words}"):
        fixed_licenses(settings_of({"id": "a", "key_file": tmp_path / "key"}), Origin(name="x"))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": KEY}, 200),
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"x-api-key": "sk-of-another-service", "authorization": f"Bearer {KEY}"}, 200),
        ({"x-api-key": KEY, "authorization": "Bearer sk-of-another-service"}, 200),
        ({"x-api-key": "sk-of-another-service"}, 401),
        ({}, 401),
    ],
)
async def test_a_foreign_key_does_not_hurt_next_to_a_valid_one(license_store, headers, status):
    places = (HeaderKey("x-api-key"), HeaderKey("Authorization", scheme="Bearer"))
    dialect = Dialect(name="d", routes=lambda _: (), refuse=lambda _: PlainTextResponse("no", 401), credentials=places)
    licenses = Licenses([(KEY, License(id="fixed"))], license_store)
    guarded = Licensed(PlainTextResponse("yes"), licenses, dialect)

    async def app(scope, receive, send):
        attach(scope, SimpleNamespace(caller=None, spool=Spool(), license_end=None, record=SimpleNamespace(error=None)))
        await guarded(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        assert (await client.get("/", headers=headers)).status_code == status
