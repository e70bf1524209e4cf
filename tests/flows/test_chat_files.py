"""Pictures and files into chat and out of it, by the official `openai` Python SDK."""

import base64
import re
import socket
from contextlib import contextmanager, suppress

import httpx2 as httpx
import openai
import pytest

from tests.protocol.http.test_media_types import picture

IMAGE_LINK = re.compile(r"!\[[^\]]*\]\((http[^)]+)\)")


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


def user(*parts):
    return {"role": "user", "content": list(parts)}


def text(said):
    return {"type": "text", "text": said}


def answer(client, *messages, model="gemini-3-pro"):
    return client.chat.completions.create(model=model, messages=list(messages)).choices[0].message


def streamed(client, *messages, model):
    """Return what the deltas add up to."""
    content, entries = "", {"images": [], "videos": [], "annotations": [], "document": None}
    for chunk in client.chat.completions.create(model=model, messages=list(messages), stream=True):
        delta = chunk.choices[0].delta
        content += delta.content or ""
        for name in ("images", "videos", "annotations"):
            entries[name] += getattr(delta, name, None) or []
        entries["document"] = getattr(delta, "document", None) or entries["document"]
    return content, entries


def test_files_of_a_user_reach_the_upstream(client):
    shown = {"type": "image_url", "image_url": {"url": data_url(picture("PNG"), "image/png"), "detail": "low"}}
    paper = {"type": "file", "file": {"filename": "paper.pdf", "file_data": data_url(b"%PDF-1.7\n", "application/pdf")}}
    wav = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(20)
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav).decode(), "format": "wav"}}
    said = answer(client, user(text("What are these?"), shown, paper, sound)).content
    assert "image/png" in said
    assert "paper.pdf (application/pdf" in said
    assert "audio/wav" in said
    assert "image/png" in answer(client, user(shown)).content


def data_url(data, mime):
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def test_a_picture_comes_as_a_link_that_opens_and_as_an_entry(client):
    message = answer(client, user(text("A red cat")), model="gemini-3-pro-imagen")
    links = IMAGE_LINK.findall(message.content)
    assert [entry["image_url"]["url"] for entry in message.images] == links
    assert [(entry["type"], entry["index"]) for entry in message.images] == [
        ("image_url", n) for n in range(len(links))
    ]
    opened = httpx.get(links[0])
    assert opened.headers["content-type"].startswith("image/")
    content, entries = streamed(client, user(text("A red cat")), model="gemini-3-pro-imagen")
    assert [entry["image_url"]["url"] for entry in entries["images"]] == IMAGE_LINK.findall(content)
    assert IMAGE_LINK.sub("!", content) == IMAGE_LINK.sub("!", message.content)


@pytest.mark.parametrize("part", ["content", "images"])
def test_a_conversation_continues_with_the_picture_of_an_earlier_answer(client, part):
    drawn = answer(client, user(text("A red cat")), model="gemini-3-pro-imagen")
    said = {"role": "assistant", "content": drawn.content if part == "content" else "Here it is."}
    if part == "images":
        said["images"] = drawn.images
    assert "image/png" in answer(client, user(text("A red cat")), said, user(text("What is it?"))).content


def test_citations_index_the_unchanged_report(client):
    content, entries = streamed(client, user(text("Foxes")), model="gemini-3-pro-deepsearch")
    assert entries["annotations"]
    for entry in entries["annotations"]:
        cited = entry["url_citation"]
        assert cited["url"] in content[cited["start_index"] : cited["end_index"]]
    assert entries["document"]["kind"] == "markdown"


@contextmanager
def listening(came):
    """Yield the URL of a listener that records its connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.setblocking(False)
        with suppress(BlockingIOError):
            came.append(server.accept())


def test_fields_and_headers_that_name_other_hosts_change_nothing(gateway):
    """The named hosts get no request."""
    came = []
    with listening(came) as place:
        headers = {"Authorization": f"Bearer {gateway.key}", "x-base-url": place, "x-forwarded-host": "evil.example"}
        body = {
            "model": "gemini-3-pro-imagen",
            "messages": [user(text("A red cat"))],
            "api_base": place,
            "base_url": place,
        }
        response = httpx.post(f"{gateway.base_url}/chat/completions", json=body, headers=headers)
    assert response.status_code == 200
    links = IMAGE_LINK.findall(response.json()["choices"][0]["message"]["content"])
    assert links
    assert all(link.startswith(gateway.origin + "/") for link in links)
    assert came == []
