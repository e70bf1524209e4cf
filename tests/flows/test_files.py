"""Files that are uploaded once and named by id, with the `openai` SDK, unmodified, against gateways on sockets."""

import base64
import re
import sqlite3
from contextlib import closing, suppress

import httpx2 as httpx
import openai
import pytest
from openai.types import FileDeleted, FileObject
from pydantic import BaseModel

from tests.conftest import KEY, SETTINGS, Gateway
from tests.flows.test_emptied import run, until
from tests.flows.test_images import drawn
from tests.openai_schemas import check
from tests.servers import programs, servers_of

MODEL = "gemini-3-pro"
OTHER = "sk-another-license"
MORE = f"""
[[licenses]]
id = "other"
key = "{OTHER}"

[files]
files_per_license = 20
bytes_per_license = 3_300_000
"""
TEXT = "Größe: 12 μm\n".encode() * 50_000
"""More than one piece."""
PNG = drawn()


class FilePage(BaseModel):
    object: str
    data: list[FileObject]
    first_id: str
    last_id: str
    has_more: bool


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    process = Gateway(tmp_path_factory.mktemp("files"), SETTINGS.format(key=KEY) + MORE)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def other(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=OTHER, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def http(gateway):
    with httpx.Client(base_url=gateway.base_url, headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


@pytest.fixture
def upload(client):
    """Upload files, which are deleted at the end."""
    made = []

    def send(name, data, purpose="user_data", **fields):
        made.append(client.files.create(file=(name, data), purpose=purpose, **fields))
        return made[-1]

    yield send
    for file in made:
        with suppress(openai.NotFoundError):
            client.files.delete(file.id)


def test_a_file_is_stored_listed_read_and_deleted(client, upload):
    file = upload("Größen ü.txt", TEXT, expires_after={"anchor": "created_at", "seconds": 3600})
    assert (file.bytes, file.filename, file.purpose) == (len(TEXT), "Größen ü.txt", "user_data")
    assert file.expires_at == file.created_at + 3600
    assert client.files.retrieve(file.id) == file
    assert client.files.wait_for_processing(file.id) == file
    content = client.files.content(file.id)
    assert content.read() == TEXT
    assert "attachment" in content.response.headers["content-disposition"]
    assert client.files.delete(file.id).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="is not stored"):
            call(file.id)


def test_files_are_listed_in_pages(client, upload):
    names = [f"{number}.txt" for number in range(5)]
    ids = [upload(name, b"text", "vision" if name == "2.txt" else "assistants").id for name in names]
    created = sorted(client.files.list(order="asc", limit=2), key=lambda file: ids.index(file.id))
    assert [file.id for file in created] == ids
    assert [file.filename for file in client.files.list(purpose="vision")] == ["2.txt"]
    page = client.files.list(limit=2)
    assert page.has_more
    assert [file.id for file in page] == [file.id for file in client.files.list()]


def test_answers_are_valid(http, upload):
    made = http.post("/files", data={"purpose": "vision"}, files={"file": ("a.png", PNG)})
    file = check(made.content, FileObject, "OpenAIFile")
    path = f"/files/{file['id']}"
    check(http.get(path).content, FileObject, "OpenAIFile")
    check(http.get("/files").content, FilePage, "ListFilesResponse")
    part = http.get(f"{path}/content", headers={"range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, PNG[1:4])
    check(http.delete(path).content, FileDeleted, "DeleteFileResponse")
    check(http.get("/files?purpose=vision").content, FilePage, "ListFilesResponse")


def chat(client, *parts, text="What are these?"):
    content = [{"type": "text", "text": text}, *parts]
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])


def by_id(file):
    return {"type": "file", "file": {"file_id": file.id}}


def test_a_message_names_a_file_by_its_id(client, upload):
    file = upload("notes.txt", TEXT)
    data = base64.b64encode(TEXT).decode()
    whole = {"filename": "notes.txt", "file_data": f"data:text/plain;base64,{data}"}
    named, sent = chat(client, by_id(file)), chat(client, {"type": "file", "file": whole})
    assert "notes.txt" in named.choices[0].message.content
    assert named.choices[0].message.content == sent.choices[0].message.content


def test_a_response_names_files_by_their_ids_and_is_continued(client, upload):
    picture, notes = upload("a.png", PNG, "vision"), upload("notes.txt", TEXT)
    parts = [
        {"type": "input_text", "text": "What are these?"},
        {"type": "input_image", "file_id": picture.id, "detail": "auto"},
        {"type": "input_file", "file_id": notes.id},
    ]
    answer = client.responses.create(model=MODEL, input=[{"role": "user", "content": parts}])
    assert "a.png" in answer.output_text
    assert "notes.txt" in answer.output_text
    again = client.responses.create(model=MODEL, input="<echo>again</echo>", previous_response_id=answer.id)
    assert again.output_text == "again"
    items = client.responses.input_items.list(answer.id).data
    assert items[0].content[1].file_id == picture.id


def test_an_edit_and_a_video_begin_with_a_picture_that_is_named_by_id(http, upload):
    picture, notes = upload("a.png", PNG, "vision"), upload("notes.txt", TEXT)
    edit = {"prompt": "A hat", "images": [{"file_id": picture.id}], "size": "64x64"}
    assert http.post("/images/edits", json=edit).json()["data"][0]["b64_json"]
    wrong = http.post("/images/edits", json=edit | {"images": [{"file_id": notes.id}]})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "images[0].file_id")
    film = {"prompt": "A fox", "input_reference": {"file_id": picture.id}}
    assert http.post("/videos", json=film).json()["status"] == "queued"


def test_a_file_of_another_license_is_unknown(client, other, upload):
    file = upload("notes.txt", b"secret")
    assert list(other.files.list()) == []
    for call in (other.files.retrieve, other.files.content, other.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(file.id)
    with pytest.raises(openai.NotFoundError) as failed:
        chat(other, by_id(file))
    assert (failed.value.code, failed.value.param) == ("file_not_found", "messages[0].content[1].file.file_id")
    unknown = [{"role": "user", "content": [{"type": "input_file", "file_id": file.id}]}]
    with pytest.raises(openai.NotFoundError) as failed:
        other.responses.create(model=MODEL, input=unknown)
    assert failed.value.param == "input[0].content[0].file_id"
    assert client.files.content(file.id).read() == b"secret"


@pytest.mark.parametrize("purpose", ["batch", "fine-tune", "evals", "other"])
def test_another_purpose_is_refused_by_name(client, purpose):
    with pytest.raises(openai.BadRequestError, match=re.escape(f"purpose '{purpose}'")) as failed:
        client.files.create(file=("a.jsonl", b"{}"), purpose=purpose)
    assert failed.value.param == "purpose"


def test_the_bytes_decide_whether_a_file_is_taken(client, upload):
    with pytest.raises(openai.BadRequestError) as failed:
        upload("a.png", b"\x7fELF\x02\x01\x01" + bytes(100))
    assert (failed.value.code, failed.value.param) == ("unsupported_file", "file")
    with pytest.raises(openai.BadRequestError):
        upload("a.txt", b"")


def test_a_form_without_one_file_is_refused(http):
    for form in ({"files": {"other": ("a", b"x")}}, {"files": {}}):
        refused = http.post("/files", data={"purpose": "user_data"}, **form)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "file")
    refused = http.post("/files", files={"file": ("a", b"x")})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "purpose")


def test_a_license_stores_as_much_as_the_settings_say(client, upload):
    for _ in range(4):
        upload("notes.txt", TEXT)
    with pytest.raises(openai.RateLimitError, match=re.escape("3300000 bytes per license (the setting 'files.bytes")):
        upload("notes.txt", TEXT)
    assert len(list(client.files.list())) == 4


def test_one_file_serves_all_dialects(http, upload):
    file, version = upload("notes.txt", TEXT), {"anthropic-version": "2023-06-01"}
    block = {"type": "document", "source": {"type": "file", "file_id": file.id}}
    body = {"model": MODEL, "max_tokens": 999, "messages": [{"role": "user", "content": [block]}]}
    assert "notes.txt" in http.post("/messages", json=body, headers=version).text
    part = {"fileData": {"fileUri": f"files/{file.id}"}}
    answer = http.post(f"/models/{MODEL}:generateContent", json={"contents": [{"parts": [part]}]})
    assert "notes.txt" in answer.text
    listed = http.get("/files", headers=version).json()["data"]
    assert [(one["type"], one["id"]) for one in listed] == [("file", file.id)]
    google = {"x-goog-api-key": KEY}
    assert http.get("/files", headers=google).json()["files"][0]["name"] == f"files/{file.id}"


def test_older_clients_of_anthropics_page_by_the_ids_of_files(http, upload):
    ids = [upload("notes.txt", b"x").id for _ in range(4)][::-1]

    def page(**query):
        found = http.get("/files", params=query, headers={"anthropic-version": "2023-06-01"})
        if found.status_code != 200:
            return found.json()["error"]["type"]
        assert (found.json()["first_id"], found.json()["last_id"]) == (
            found.json()["data"][0]["id"],
            found.json()["data"][-1]["id"],
        )
        return [one["id"] for one in found.json()["data"]], found.json()["has_more"]

    assert page(limit=3) == (ids[:3], True)
    assert page(limit=3, after_id=ids[2]) == (ids[3:], False)
    assert page(limit=2, before_id=ids[3]) == (ids[1:3], True)
    for wrong in ({"after_id": "file-none"}, {"limit": 0}, {"page": "page_x"}):
        assert page(**wrong) == "invalid_request_error"


def test_files_survive_a_restart_of_two_workers_encrypted(tmp_path, start_gateway):
    key_file = tmp_path / "key"
    key_file.write_text("a secret of the store, which has 32 bytes")
    key_file.chmod(0o600)
    settings = SETTINGS.format(key=KEY).replace("port = 0", "port = 0\nworkers = 2")
    settings += f'\n[store]\npath = "{tmp_path}/store.sqlite3"\nkey_file = "{key_file}"\n'
    first = start_gateway(settings)
    with openai.OpenAI(base_url=first.base_url, api_key=KEY) as client:
        file = client.files.create(file=("notes.txt", TEXT), purpose="user_data")
    first.stop()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("store.sqlite3*"))
    assert TEXT[:100] not in stored
    assert b"notes.txt" not in stored
    second = start_gateway(settings)
    for _ in range(4):
        with openai.OpenAI(base_url=second.base_url, api_key=KEY) as client:
            assert client.files.content(file.id).read() == TEXT


def test_replicas_share_files(start_gateway):
    with servers_of(next(iter(programs().values()))) as begin:
        settings = SETTINGS.format(key=KEY) + f'\n[store]\nurl = "{begin().url}"\n'
        clients = [openai.OpenAI(base_url=start_gateway(settings).base_url, api_key=KEY) for _ in range(2)]
        file = clients[0].files.create(file=("notes.txt", TEXT), purpose="user_data")
        assert clients[1].files.content(file.id).read() == TEXT
        assert "notes.txt" in chat(clients[1], by_id(file)).choices[0].message.content
        clients[1].files.delete(file.id)
        assert list(clients[0].files.list()) == []
        for client in clients:
            client.close()


def test_the_files_of_a_license_that_is_revoked_are_deleted(gateway):
    key = run(gateway, "licenses", "add", "team").strip()
    with openai.OpenAI(base_url=gateway.base_url, api_key=key) as client:
        client.files.create(file=("notes.txt", TEXT), purpose="user_data")
    with closing(sqlite3.connect(gateway.log.parent / "gateway.sqlite3")) as store:
        query = "SELECT COUNT(*) FROM record WHERE collection LIKE 'file%' AND key LIKE 'team+%'"
        assert store.execute(query).fetchone()[0] == 6
        run(gateway, "licenses", "revoke", "team")
        until(lambda: store.execute(query).fetchone()[0] == 0)
