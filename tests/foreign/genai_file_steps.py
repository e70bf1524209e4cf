"""Steps of google-genai's `client.files` against the simulated API; run as a process with two keys.

Prints a JSON line for each step with its error, null if it passed.
"""

import io
import json
import sys
import time
import traceback
from functools import cache

from google import genai
from google.genai import errors, types

ADDRESS, KEY, OTHER = sys.argv[1:4]
MODEL = "gemini-3.6-flash"
LONG = b"%PDF-1.4\n" + bytes(range(256)) * 4096 * 9  # more than one of the SDK's parts


@cache
def client(key=KEY):
    return genai.Client(api_key=key, http_options={"base_url": ADDRESS, "api_version": "v1beta"})


def uploaded(content, **config):
    file = client().files.upload(file=io.BytesIO(content), config=types.UploadFileConfig(**config))
    while file.state == types.FileState.PROCESSING:
        time.sleep(0.05)
        file = client().files.get(name=file.name)
    return file


def step_upload_in_parts():
    file = uploaded(LONG, mime_type="application/pdf", display_name="a long one")
    assert (file.state, file.size_bytes, file.display_name) == (types.FileState.ACTIVE, len(LONG), "a long one")
    assert file.name.startswith("files/"), file.name
    assert (file.expiration_time - file.create_time).total_seconds() == 48 * 3600
    answer = client().models.generate_content(model=MODEL, contents=["What is it?", file])
    assert f"application/pdf, {len(LONG)} bytes" in answer.text, answer.text


def step_list_and_delete():
    file = uploaded(b"one line", mime_type="text/plain", name="my-file")
    assert file.name == "files/my-file"
    assert "files/my-file" in [one.name for one in client().files.list(config={"page_size": 1})]
    client().files.delete(name=file.name)
    refused(403, lambda: client().files.get(name=file.name))
    refused(403, lambda: client().models.generate_content(model=MODEL, contents=[file]))


def step_a_file_belongs_to_its_key():
    file = uploaded(b"secret", mime_type="text/plain")
    refused(403, lambda: client(OTHER).files.get(name=file.name))
    refused(403, lambda: client(OTHER).models.generate_content(model=MODEL, contents=[file]))
    assert file.name not in [one.name for one in client(OTHER).files.list()]


def step_a_file_that_fails():
    file = uploaded(b"<file-fails/>", mime_type="video/mp4")
    assert (file.state, file.error.code) == (types.FileState.FAILED, 3)
    refused(400, lambda: client().models.generate_content(model=MODEL, contents=[file]))


def refused(code, call):
    found = None
    try:
        call()
    except errors.ClientError as error:
        found = error.code
    assert found == code, found


for name, step in list(globals().items()):
    if name.startswith("step_"):
        problem = None
        try:
            step()
        except Exception:  # noqa: BLE001 -- reported
            problem = traceback.format_exc()
        print(json.dumps({"step": name.removeprefix("step_"), "error": problem}), flush=True)
