"""Uploads in parts, by requests that the SDK does not send, over a socket."""

import httpx2 as httpx
import pytest

from tests.conftest import KEY, SETTINGS, Gateway

OTHER = "sk-another-license"
SETTINGS_OF_TWO = SETTINGS.format(key=KEY) + f'\n[[licenses]]\nid = "other"\nkey = "{OTHER}"\n'
STEP = 256 * 1024
DATA = b"0123456789abcde\n" * (STEP // 16) + b"the end"


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), SETTINGS_OF_TWO)
    with httpx.Client(base_url=gateway.base_url.removesuffix("/v1")) as client:
        yield client
    gateway.stop()


SIZE = len(DATA)


def begin(http, size=SIZE, key=KEY, **headers):
    sent = {"x-goog-upload-command": "start", "x-goog-upload-header-content-length": str(size)}
    return http.post("/upload/v1beta/files", headers={**sent, "x-goog-api-key": key, **headers})


@pytest.fixture
def send(http):
    """Send a part of an upload, which has no license key."""
    url = begin(http).headers["x-goog-upload-url"]

    def part(command, data=b"", offset=0, key=""):
        headers = {"x-goog-upload-command": command, "x-goog-upload-offset": str(offset)}
        return http.post(url, content=data, headers={**headers, **({"x-goog-api-key": key} if key else {})})

    return part


def state(response):
    return response.headers["x-goog-upload-status"], response.headers.get("x-goog-upload-size-received")


def test_a_file_comes_in_parts_any_of_which_may_be_repeated(http, send):
    assert state(send("query")) == ("active", "0")
    for _ in range(2):
        assert state(send("upload", DATA[:STEP])) == ("active", str(STEP))
    early = send("finalize")
    assert (early.status_code, early.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    for _ in range(2):
        done = send("upload, finalize", DATA[STEP:], STEP)
        assert state(done)[0] == "final"
    name = done.json()["file"]["name"]
    found = http.get(f"/v1beta/{name}:download?alt=media&key={KEY}")
    assert found.content == DATA
    assert http.get(f"/v1beta/{name}", headers={"x-goog-api-key": OTHER}).status_code == 404


@pytest.mark.parametrize(
    ("command", "data", "offset"),
    [
        ("upload", DATA[:STEP], STEP),
        ("upload", DATA[:STEP], 1),
        ("upload", DATA[: STEP - 1], 0),
        ("upload", DATA + b"!", 0),
        ("upload", DATA[:STEP], "x"),
        ("start", b"", 0),
        ("", b"", 0),
    ],
)
def test_a_part_that_does_not_fit_is_refused_and_changes_nothing(send, command, data, offset):
    refused = send(command, data, offset)
    assert (refused.status_code, state(refused)[0]) == (400, "final")
    assert state(send("query")) == ("active", "0")


def test_the_url_of_an_upload_serves_its_license_until_it_is_cancelled(send):
    assert send("query", key=OTHER).status_code == 404
    assert state(send("cancel"))[0] == "cancelled"
    assert send("upload", DATA[:STEP]).status_code == 404


def test_the_ticket_of_an_upload_opens_nothing_else(http):
    url = begin(http).headers["x-goog-upload-url"]
    ticket = url.partition("?")[2]
    assert http.get(f"/v1beta/files?{ticket}").status_code == 401
    assert http.get(f"/v1/models?{ticket}").status_code == 401
    assert http.post("/upload/v1beta/files?upload_id=x", headers={"x-goog-upload-command": "start"}).status_code == 401
    again = http.post(url, headers={"x-goog-upload-command": "start", "x-goog-upload-header-content-length": "1"})
    assert again.status_code == 400


def test_a_beginning_without_a_size_or_a_command_is_refused(http):
    for headers in ({"size": "0"}, {"size": "x"}, {"x-goog-upload-command": "upload"}):
        refused = begin(http, headers.pop("size", 1), **headers)
        assert (refused.status_code, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert begin(http, 2**30).status_code == 413
    assert begin(http, key="sk-unknown-license").status_code == 401
