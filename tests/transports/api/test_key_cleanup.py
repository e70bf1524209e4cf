"""Deletions at the simulated API, over a socket."""

from contextlib import asynccontextmanager

import httpx2 as httpx

from tests.clock import ManualClock
from transports.api.key_cleanup import KeyCleanup
from transports.generate_content.api_client import ApiAccess, ApiClient
from transports.http import Timeouts, client
from transports.store import MemoryStore
from transports.store.upstream_copies import UpstreamCopies, UpstreamCopy

KEY = {"x-goog-api-key": "AIzaSimulatedPaid-0"}


@asynccontextmanager
async def cleanup_at(address, clock, copies, seconds):
    async def authorize():
        return KEY

    async with client(Timeouts()) as http:
        api = ApiClient(http, ApiAccess(f"{address}/v1beta/", authorize), Timeouts(), clock)
        yield KeyCleanup(api, "project", copies, clock, seconds)


def interaction_at(address):
    body = {"model": "gemini-3.6-flash", "input": "hello"}
    return httpx.post(f"{address}/v1beta/interactions", json=body, headers=KEY).json()["id"]


def file_at(address):
    headers = {
        "X-Goog-Upload-Protocol": "resumable",
        "X-Goog-Upload-Command": "start",
        "X-Goog-Upload-Header-Content-Length": "3",
        "X-Goog-Upload-Header-Content-Type": "text/plain",
    }
    started = httpx.post(f"{address}/upload/v1beta/files", headers=KEY | headers)
    headers = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
    found = httpx.post(started.headers["x-goog-upload-url"], content=b"abc", headers=headers).json()["file"]
    return UpstreamCopy(found["name"], found["uri"])


def status_of(address, path):
    return httpx.get(f"{address}/v1beta/{path}", headers=KEY).status_code


async def test_interactions_are_deleted_some_time_after_their_result_was_read(official_api):
    clock = ManualClock()
    copies = UpstreamCopies(MemoryStore(clock))
    read, running = interaction_at(official_api.url), interaction_at(official_api.url)
    async with cleanup_at(official_api.url, clock, copies, 100.0) as cleanup:
        await cleanup.begun(read)
        await cleanup.begun(running)
        await cleanup.ended(read)
        await cleanup.sweep()
        assert status_of(official_api.url, f"interactions/{read}") == 200
        clock.advance(101.0)
        await cleanup.sweep()
        await cleanup.sweep()
    found = [status_of(official_api.url, f"interactions/{identity}") for identity in (read, running)]
    assert found == [404, 200]
    assert await copies.due("project", clock.wall() + 10_000.0) == []


async def test_a_removed_file_is_deleted_at_the_api(official_api):
    clock = ManualClock()
    copies = UpstreamCopies(MemoryStore(clock))
    removed, other = file_at(official_api.url), file_at(official_api.url)
    await copies.note("project", "aa", removed, 1000.0)
    await copies.note("project", "bb", other, 1000.0)
    await copies.forget("aa")
    async with cleanup_at(official_api.url, clock, copies, 100.0) as cleanup:
        await cleanup.sweep()
    assert [status_of(official_api.url, copy.name) for copy in (removed, other)] == [403, 200]
    assert await copies.find("project", "aa") is None
    assert await copies.find("project", "bb") == other


async def test_a_deletion_that_the_api_has_done_is_forgotten(official_api):
    clock = ManualClock()
    copies = UpstreamCopies(MemoryStore(clock))
    await copies.delete_at("project", "files/none", 0.0, 0.0)
    await copies.delete_at("project", "interactions/none", 0.0, 0.0)
    async with cleanup_at(official_api.url, clock, copies, 100.0) as cleanup:
        await cleanup.sweep()
    assert await copies.due("project", clock.wall()) == []
