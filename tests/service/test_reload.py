from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service import wiring
from service.check import check_secrets
from service.config.loader import origin_of
from service.config.schema import load
from service.licenses.auth import Licenses, fixed_licenses
from service.licenses.store import LicenseStore
from service.reload import Reload, ReloadPart
from tests.clock import ManualClock
from transports import web
from transports.store import MemoryStore

ONE, TWO, THREE = "sk-k3VxZ9qLwT7mPb2R", "sk-Yh5nC8sJd4fGu6Xe", "sk-Q2bM7vKzR9tWa3Lp"


class Gateway:
    """Reloads real files."""

    def __init__(self, folder, settings):
        self.folder, self.path = folder, folder / "gateway.toml"
        self.path.write_text(settings)
        self.settings, self.origin = load(self.path, {}), origin_of(self.path, {})
        self.clock, self.registry = ManualClock(), CollectorRegistry()
        license_store = LicenseStore(MemoryStore(self.clock), self.clock)
        self.licenses = Licenses(fixed_licenses(self.settings.licenses, self.origin), license_store)
        check = partial(check_secrets, origin=self.origin)
        self.reload = Reload(self.settings, self.origin, self.licenses, self.registry, check)

    async def look(self):
        """Check the files, and let the settling time pass."""
        with capture_logs() as logs:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.reload.check_files, self.clock)
                await anyio.wait_all_tasks_blocked()
                self.clock.advance(1.0)
        return logs

    async def knows(self, *keys):
        return [await self.licenses.caller(key.encode()) is not None for key in keys]

    def count(self, name):
        return self.registry.get_sample_value(f"gateway_config_{name}_total")


LICENSES = """
[[licenses]]
id = "one"
key_file = "one"
[[licenses]]
id = "two"
key_file = "two"
"""


@pytest.fixture
def gateway(tmp_path):
    (tmp_path / "one").write_text(ONE)
    (tmp_path / "two").write_text(TWO)
    return Gateway(tmp_path, LICENSES)


async def test_a_changed_key_is_loaded_and_the_old_one_is_refused(gateway):
    assert await gateway.look() == []
    (gateway.folder / "one").write_text(THREE)
    logs = await gateway.look()
    assert await gateway.knows(ONE, TWO, THREE) == [False, True, True]
    assert [line["event"] for line in logs] == ["config_reloaded"]
    assert (gateway.count("reloads"), gateway.count("reload_failures")) == (1.0, 0.0)


@pytest.mark.parametrize("content", [None, b"", b"   \n", b"short", b"\xff\xfe", b"a key\nof two lines", TWO.encode()])
async def test_an_invalid_key_file_keeps_the_old_key_and_is_logged_once(gateway, content):
    path = gateway.folder / "one"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    logs = await gateway.look()
    assert await gateway.knows(ONE, TWO) == [True, True]
    assert [(line["event"], line["path"]) for line in logs] == [("config_reload_failed", str(path))]
    assert content is None or len(content.strip()) < 4 or content.decode("latin-1") not in str(logs)
    assert gateway.count("reload_failures") == 1.0
    assert await gateway.look() == []
    path.write_text(THREE)
    await gateway.look()
    assert await gateway.knows(ONE, THREE) == [False, True]


@pytest.mark.parametrize(
    ("one", "two", "known"),
    [(TWO, ONE, [True, True, False]), (TWO, THREE, [False, True, True]), (TWO, TWO, [True, True, False]),
     (TWO, "short", [True, True, False]), (THREE, THREE, [False, True, True]), ("short", ONE, [True, True, False])],
)  # fmt: skip
async def test_a_key_is_taken_over_from_a_license_that_has_another_one_now(gateway, one, two, known):
    (gateway.folder / "one").write_text(one)
    (gateway.folder / "two").write_text(two)
    await gateway.look()
    assert await gateway.knows(ONE, TWO, THREE) == known


async def test_an_invalid_key_file_does_not_prevent_the_reload_of_others(gateway):
    (gateway.folder / "one").write_text("")
    (gateway.folder / "two").write_text(THREE)
    await gateway.look()
    assert await gateway.knows(ONE, TWO, THREE) == [True, False, True]


async def test_a_file_that_is_still_being_written_is_not_loaded(gateway):
    path = gateway.folder / "one"
    path.write_text(THREE[:-2])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gateway.reload.check_files, gateway.clock)
        await anyio.wait_all_tasks_blocked()
        path.write_text(THREE)
        gateway.clock.advance(1.0)
    assert await gateway.knows(ONE, THREE[:-2], THREE) == [True, False, False]
    await gateway.look()
    assert await gateway.knows(ONE, THREE) == [False, True]


async def test_a_replaced_symlinked_folder_is_detected(tmp_path):
    for name, key in (("..1", ONE), ("..2", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key").write_text(key)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "key").symlink_to(Path("..data") / "key")
    gateway = Gateway(tmp_path, '[[licenses]]\nid = "one"\nkey_file = "key"\n')
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    await gateway.look()
    assert await gateway.knows(ONE, TWO) == [False, True]


SITE = "[transports.web]\n"


async def test_reload_applies_licenses_and_names_settings_that_need_a_restart(tmp_path):
    (tmp_path / "one").write_text(ONE)
    (tmp_path / "two").write_text(TWO)
    gateway = Gateway(tmp_path, LICENSES + SITE)
    gateway.path.write_text(
        '[server]\nport = 9\n[[licenses]]\nid = "one"\nkey_file = "one"\n'
        f'[[licenses]]\nid = "three"\nkey = "{THREE}"\n[transports.web]\nguest = false\n'
    )
    with capture_logs() as logs:
        await gateway.reload.reload()
    assert await gateway.knows(ONE, TWO, THREE) == [True, False, True]
    assert [(line["event"], line.get("settings")) for line in logs] == [
        ("config_restart_required", ["server", "transports.web"]),
        ("config_reloaded", None),
    ]
    assert (gateway.count("reloads"), gateway.count("reload_failures")) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[server\n", "not valid TOML"),
        ("[server]\nprot = 1\n", "unknown key"),
        ("[transports.nowhere]\n", "unknown transport"),
        ("", "transports: other ones than before"),
        (LICENSES, "transports: other ones than before"),
        (LICENSES + "[transports.simulator]\n", "transports: other ones than before"),
        (SITE, "licenses: all are gone; restart"),
        (LICENSES + SITE + '[[licenses]]\nid = "one"\nkey_file = "two"\n', "'one' occurs twice"),
        (f'[[licenses]]\nid = "one"\nkey = "password"\n{SITE}', "shorter than 16 characters"),
        (f'[[licenses]]\nid = "one"\nkey_file = "nowhere"\n{SITE}', "cannot be read"),
        (f'[[licenses]]\nid = "three"\nkey = "{THREE}"\n[[licenses]]\nid = "four"\n{SITE}', "8 to 256"),
    ],
)
async def test_settings_that_serve_refuses_change_nothing(tmp_path, text, reason):
    (tmp_path / "one").write_text(ONE)
    (tmp_path / "two").write_text(TWO)
    gateway = Gateway(tmp_path, LICENSES + SITE)
    gateway.path.write_text(text)
    with capture_logs() as logs:
        await gateway.reload.reload()
    assert await gateway.knows(ONE, TWO, THREE) == [True, True, False]
    assert [(line["event"], line["path"]) for line in logs] == [("config_reload_failed", str(gateway.path))]
    assert reason in logs[0]["reason"]
    assert (gateway.count("reloads"), gateway.count("reload_failures")) == (0.0, 1.0)


async def test_a_key_file_with_a_key_that_can_be_guessed_keeps_the_old_key(tmp_path):
    (tmp_path / "one").write_text(ONE)
    (tmp_path / "two").write_text(TWO)
    gateway = Gateway(tmp_path, LICENSES + SITE)
    (tmp_path / "one").write_text("changeme-changeme-changeme")
    await gateway.look()
    assert await gateway.knows(ONE, TWO) == [True, True]
    assert gateway.count("reload_failures") == 1.0


async def test_transports_and_other_parts_reload_their_own_files(tmp_path, monkeypatch):
    cookies, token = tmp_path / "cookies", tmp_path / "token"
    cookies.write_text("__Secure-1PSID=a")
    token.write_text("a")
    gateway = Gateway(
        tmp_path, '[transports.web]\n[[transports.web.accounts]]\nid = "first"\ncookies_file = "cookies"\n'
    )
    loaded = []

    class Transport:
        name = "web"

        async def reload(self, config):
            loaded.append(config.accounts[0].cookies_file.read_text())
            return [str(cookies)]

    def take_token():
        loaded.append(token.read_text())
        return []

    gateway.reload.follow(Transport())
    gateway.reload.add(ReloadPart([token], take_token))
    kind = msgspec.structs.replace(web.TRANSPORT_TYPE, reload=Transport.reload)
    monkeypatch.setitem(wiring.TRANSPORTS, "web", kind)
    assert await gateway.look() == []
    cookies.write_text("__Secure-1PSID=b")
    assert [line["path"] for line in await gateway.look()] == [str(cookies)]
    token.write_text("bc")
    await gateway.look()
    assert loaded == ["__Secure-1PSID=b", "a", "__Secure-1PSID=b", "bc"]


async def test_files_are_checked_while_the_reload_is_open(gateway):
    async with gateway.reload.open(gateway.clock):
        await gateway.clock.until_asleep()
        (gateway.folder / "one").write_text(THREE)
        for seconds in (10.0, 1.0):
            gateway.clock.advance(seconds)
            await anyio.wait_all_tasks_blocked()
        assert await gateway.knows(ONE, THREE) == [False, True]
