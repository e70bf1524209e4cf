import os
from hashlib import blake2b

import anyio
import anyio.abc
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from yarl import URL

from protocol.model import (
    BadRequest,
    Certainty,
    FilePart,
    GatewayError,
    Media,
    MediaKind,
    MediaPart,
    MediaRef,
    Role,
    StoredFile,
    Text,
    TextPart,
    Turn,
    Unsupported,
    UpstreamFailed,
)
from service.server.hypercorn import serve_loopback
from tests.clock import ManualClock
from tests.transports.conftest import ACCOUNT, connected, deps_for, request_for
from tests.transports.conftest import asking as open_answer
from transports import simulator, web
from transports.web.media.upload import upload_allowed

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 64
NOTE = FilePart(data=b"a note", mime="text/plain", name="note.txt")
PICTURE = FilePart(data=PNG, mime="image/png", name="sea \u2013 side.png")


async def tell(transport, request, name="one"):
    account = next(account for account in transport.accounts if account.id == name)
    async with open_answer(transport, request, account) as answer:
        return [event async for event in answer]


def said(events):
    return "".join(event.text for event in events if isinstance(event, Text))


async def drawn(transport, name="one"):
    events = await tell(transport, request_for("a lighthouse", "gemini-3-pro-imagen"), name)
    return next(event.ref for event in events if isinstance(event, Media))


def asking(*turns, model="gemini-3-pro"):
    turns = tuple(Turn(role=role, parts=tuple(parts)) for role, *parts in turns)
    return msgspec.structs.replace(request_for("", model), turns=turns)


async def test_files_are_uploaded_and_named_in_the_turn(site):
    request = asking((Role.USER, TextPart("what is this?"), NOTE, PICTURE))
    async with site.connect() as transport:
        text = said(await tell(transport, request))
    assert "- note.txt (text/plain, 6 bytes)" in text
    assert f"- sea \u2013 side.png (image/png, {len(PNG)} bytes)" in text
    assert (await site.state())["departures"] == []


async def test_the_same_content_is_uploaded_once_for_a_time(open_site):
    clock = ManualClock()
    async with open_site() as site:
        async with site.connect(deps=deps_for(clock=clock), upload_reuse_seconds=60, rotate_seconds=0) as transport:
            twice = msgspec.structs.replace(NOTE, name="other.txt")
            request = asking(
                (Role.USER, NOTE, TextPart("a")), (Role.ASSISTANT, TextPart("b")), (Role.USER, twice, NOTE)
            )
            await tell(transport, request)
            await tell(transport, request)
            assert await site.seen("upload") == 1
            clock.advance(61)
            await tell(transport, request)
            assert await site.seen("upload") == 2


async def test_a_file_deleted_by_the_site_is_uploaded_again(open_site):
    async with open_site(upload_bytes=10) as site, site.connect() as transport:
        await tell(transport, asking((Role.USER, NOTE)))
        await tell(transport, asking((Role.USER, msgspec.structs.replace(NOTE, data=b"another"))))
        assert "note.txt" in said(await tell(transport, asking((Role.USER, NOTE))))
        assert await site.seen("upload") == 3


async def test_a_long_history_is_sent_as_a_file(site):
    turns = [(Role.USER, TextPart("x" * 60_000)), (Role.ASSISTANT, TextPart("y" * 60_000))]
    request = asking(*turns, (Role.USER, TextPart("z" * 60_000 + " and now?")))
    async with site.connect() as transport:
        text = said(await tell(transport, request))
    assert "conversation-so-far.txt (text/plain" in text


async def test_a_guest_cannot_send_files(site):
    request = asking((Role.USER, NOTE), model="gemini-2.5-flash-free")
    async with site.connect() as transport:
        with pytest.raises(Unsupported) as caught:
            await tell(transport, request, "web-guest")
    assert caught.value.param == "messages"
    assert await site.seen("generate") == await site.seen("upload") == 0


@pytest.mark.parametrize("status", [403, 500, 302])
async def test_a_failed_upload_means_that_no_turn_was_sent(site, status):
    await site.order(where="upload", status=status, times=2)
    async with site.connect() as transport:
        with pytest.raises(UpstreamFailed) as caught:
            await tell(transport, asking((Role.USER, NOTE, PICTURE)))
    assert caught.value.certainty is Certainty.NOT_SENT
    assert await site.seen("generate") == 0


def file_of(data):
    return asking((Role.USER, FilePart(data=data, mime="text/plain", name="note.txt")))


async def test_a_file_is_uploaded_in_two_requests_as_browsers_do(site):
    async with site.connect() as transport:
        assert "note.txt (text/plain, 3 bytes)" in said(await tell(transport, file_of(b"one")))
    assert await site.seen("resumable") == await site.seen("upload") == 1
    assert (await site.state())["departures"] == []


def on_disk(folder, data):
    descriptor = os.open(folder / "file", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, data)
    return StoredFile(descriptor, len(data), blake2b(data, digest_size=32).digest())


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("form", ["resumable", "multipart"])
async def test_a_file_on_disk_is_streamed_from_disk(site, tmp_path, monkeypatch, form, cached):
    if not cached:
        monkeypatch.setattr(StoredFile, "read_cached", lambda *_: None)
    text = b"0123456789" * 50_000
    part = FilePart(stored=on_disk(tmp_path, text), mime="text/plain", name="long.txt")
    monkeypatch.setattr(StoredFile, "whole", None)
    async with site.connect(upload_protocol=form) as transport:
        request = asking((Role.USER, TextPart("what is this?"), part))
        answer = said(await tell(transport, request))
        assert f"- long.txt (text/plain, {len(text)} bytes)" in answer
        again = FilePart(data=text, mime="text/plain", name="other.txt")
        await tell(transport, asking((Role.USER, TextPart("x"), again)))
    assert await site.seen("upload") == 1
    assert (await site.state())["departures"] == []


@pytest.mark.parametrize("status", [400, 404, 405, 501])
async def test_a_host_that_refuses_one_protocol_gets_the_other_from_then_on(site, status):
    await site.order(where="resumable", status=status)
    async with site.connect() as transport:
        if status == 501:
            with pytest.raises(UpstreamFailed):
                await tell(transport, file_of(b"one"))
            assert await site.seen("upload") == 1
            return
        assert "(text/plain, 3 bytes)" in said(await tell(transport, file_of(b"one")))
        assert "(text/plain, 5 bytes)" in said(await tell(transport, file_of(b"three")))
    assert (await site.seen("resumable"), await site.seen("upload")) == (1, 3)


async def test_accounts_of_a_process_share_the_upload_protocol_that_works(open_site):
    other = simulator.SimulatedAccount(psid="psid-2", psidts="psidts-2")
    async with open_site(ACCOUNT, other) as site:
        await site.order(where="resumable", status=404)
        accounts = [
            web.WebAccount(id=name, cookies=simulator.export_of(one))
            for name, one in (("one", ACCOUNT), ("two", other))
        ]
        async with site.connect(*accounts) as transport:
            await tell(transport, file_of(b"one"), "one")
            await tell(transport, file_of(b"two"), "two")
        assert (await site.seen("resumable"), await site.seen("upload")) == (1, 3)


@pytest.mark.parametrize("status", [401, 403, 413, 429])
async def test_a_refusal_for_another_reason_keeps_the_protocol(site, status):
    await site.order(where="resumable", status=status)
    async with site.connect() as transport:
        with pytest.raises(UpstreamFailed) as caught:
            await tell(transport, file_of(b"one"))
        assert caught.value.certainty is Certainty.NOT_SENT
        assert await site.seen("upload") == 1


async def test_the_settings_choose_the_first_protocol(site):
    async with site.connect(upload_protocol="multipart") as transport:
        await tell(transport, file_of(b"one"))
        assert (await site.seen("resumable"), await site.seen("upload")) == (0, 1)
        await site.order(where="upload", status=400)
        assert "(text/plain, 5 bytes)" in said(await tell(transport, file_of(b"three")))
        assert (await site.seen("resumable"), await site.seen("upload")) == (1, 3)


async def test_a_file_refused_by_both_protocols_keeps_their_order(site):
    await site.order(where="upload", status=400, times=2)
    async with site.connect() as transport:
        with pytest.raises(UpstreamFailed) as caught:
            await tell(transport, file_of(b"one"))
        assert caught.value.certainty is Certainty.NOT_SENT
        await tell(transport, file_of(b"three"))
    assert (await site.seen("resumable"), await site.seen("upload")) == (2, 3)


@pytest.mark.parametrize("url", [None, "", "http://[", "/upload/1", "https://evil.example/upload/1", "200-no-path"])
async def test_a_file_is_not_sent_to_an_unknown_host(site, url):
    asked = []

    async def upload(request):
        asked.append((request.method, request.url.path, "file" in (await request.body()).decode()))
        if request.url.path == "/upload":
            return PlainTextResponse("/contrib_service/ttl_1d/1")
        given = f"{request.base_url}upload/1" if url == "200-no-path" else url
        return PlainTextResponse("", headers={} if given is None else {"X-Goog-Upload-Url": given})

    app = Starlette(routes=[Route("/{rest:path}", upload, methods=["POST"])])
    async with serve_loopback(app) as host:
        hosts = web.Hosts(site=site.base, accounts=site.base, upload=host)
        async with site.connect(hosts=hosts) as transport:
            with pytest.raises(GatewayError):  # the site does not know the path
                await tell(transport, file_of(b"a file"))
    second = ["/upload/1"] if url == "200-no-path" else []
    assert [path for _, path, _ in asked] == ["/upload/", *second, "/upload"]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://content-push.googleapis.com/upload/?upload_id=1", True),
        ("https://push.clients6.google.com/upload/?upload_id=1", True),
        ("https://push.clients6.google.com:443/upload/", True),
        ("https://push.clients6.google.com:8443/upload/", False),
        ("http://push.clients6.google.com/upload/", False),
        ("https://push.clients6.google.com.evil.example/upload/", False),
        ("https://user@push.clients6.google.com/upload/", False),
        ("https://lh3.googleusercontent.com/upload/", False),
        ("http://127.0.0.1:8080/upload/1", True),
        ("http://127.0.0.1:8081/upload/1", False),
        ("//push.clients6.google.com/upload/", False),
    ],
)
def test_a_file_is_sent_to_upload_hosts_only(url, allowed):
    config = web.WebConfig(hosts=web.Hosts(upload="http://127.0.0.1:8080"))
    assert upload_allowed(URL(url, encoded=True), config) is allowed


def forms_of(transport):
    return connected(transport).session.request_forms.attachments


async def test_a_refused_attachment_is_sent_in_the_short_form_from_then_on(site):
    async with site.connect() as transport:
        request = asking((Role.USER, TextPart('<sim error="1100" once="long"/> what is this?'), NOTE))
        assert "- note.txt (text/plain, 6 bytes)" in said(await tell(transport, request))
        assert (await site.seen("generate"), await site.seen("upload")) == (2, 1)
        assert forms_of(transport) == "short"
        assert "note.txt" in said(await tell(transport, asking((Role.USER, TextPart("and now?"), NOTE))))
        assert await site.seen("generate") == 3


@pytest.mark.parametrize(("form", "calls"), [("long", 2), ("short", 1)])
async def test_an_attachment_refused_in_the_short_form_is_an_error_of_the_request(site, form, calls):
    async with site.connect(slots=web.Slots(attachments=form)) as transport:
        with pytest.raises(BadRequest) as caught:
            await tell(transport, asking((Role.USER, TextPart('<sim error="1100"/> what is this?'), NOTE)))
        assert caught.value.param == "messages"
        assert await site.seen("generate") == calls
        assert forms_of(transport) == form


async def test_a_refusal_of_attachments_without_files_changes_nothing(site):
    async with site.connect() as transport:
        with pytest.raises(BadRequest):
            await tell(transport, asking((Role.USER, TextPart('<sim error="1100"/> hello'))))
        assert await site.seen("generate") == 1
        assert forms_of(transport) == "long"


async def test_an_upload_that_takes_too_long_times_out(site):
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as silent, anyio.create_task_group() as tasks:
        port = silent.extra(anyio.abc.SocketAttribute.local_port)

        async def accept(stream):
            async with stream:
                await anyio.sleep_forever()

        tasks.start_soon(silent.serve, accept)
        hosts = web.Hosts(site=site.base, accounts=site.base, upload=f"http://127.0.0.1:{port}")
        async with site.connect(hosts=hosts, upload_seconds=0.2) as transport:
            with pytest.raises(UpstreamFailed) as caught:
                await tell(transport, asking((Role.USER, NOTE)))
        assert caught.value.certainty is Certainty.NOT_SENT
        tasks.cancel_scope.cancel()


async def test_a_picture_of_an_earlier_turn_is_uploaded(site):
    async with site.connect() as transport:
        ref = await drawn(transport)
        request = asking(
            (Role.USER, TextPart("a lighthouse")),
            (Role.ASSISTANT, TextPart("here"), MediaPart(ref)),
            (Role.USER, TextPart("which files do you see?")),
        )
        text = said(await tell(transport, request))
    assert "- image.png (image/png" in text


async def test_a_picture_that_was_uploaded_is_not_fetched_again(open_site):
    clock = ManualClock()
    async with open_site() as site:
        async with site.connect(deps=deps_for(clock=clock), upload_reuse_seconds=60, rotate_seconds=0) as transport:
            request = asking((Role.USER, MediaPart(await drawn(transport)), TextPart("?")))
            await tell(transport, request)
            fetched = await site.seen("media")
            for _ in range(2):
                assert "- image.png (image/png" in said(await tell(transport, request))
            assert (await site.seen("media"), await site.seen("upload")) == (fetched, 1)
            clock.advance(61)
            await tell(transport, request)
            assert await site.seen("media") > fetched
            assert await site.seen("upload") == 2


async def test_a_picture_of_another_account_is_fetched_with_that_account(open_site):
    accounts = [simulator.SimulatedAccount(psid=f"p{n}", psidts=f"t{n}") for n in (1, 2)]
    async with open_site(*accounts) as site:
        known = [web.WebAccount(id=f"a{n}", cookies=simulator.export_of(a)) for n, a in enumerate(accounts, 1)]
        async with site.connect(*known) as transport:
            ref = await drawn(transport, "a1")
            assert ref.account == "a1"
            text = said(await tell(transport, asking((Role.USER, MediaPart(ref), TextPart("?"))), "a2"))
    assert "- image.png (image/png" in text


async def test_a_deleted_picture_is_an_error_of_the_request(site):
    async with site.connect() as transport:
        gone = MediaRef(
            transport="web", account="gone", kind=MediaKind.IMAGE, url="https://lh3.googleusercontent.com/x"
        )
        with pytest.raises(BadRequest):
            await tell(transport, asking((Role.USER, MediaPart(gone))))
