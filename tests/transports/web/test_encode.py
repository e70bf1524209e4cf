from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest

from transports.web import encode

CALL = encode.GenerateCall(prompt="", language="en", request_uuid="U", client_uuid="C", model=None)


@pytest.mark.parametrize(
    "prompt",
    ["", "plain", "".join(map(chr, range(0x180))), "a+b&c=d%20\n\r\n", "你好 \U0001f600", "a lone \ud83d half"],
)
@pytest.mark.parametrize("token", [None, "AK+/=:1"])
def test_a_form_is_what_the_standard_library_makes_of_it(prompt, token):
    form = encode.generate_form(msgspec.structs.replace(CALL, prompt=prompt), token)
    fields = parse_qsl(form.decode("ascii"), strict_parsing=True)
    assert form == urlencode(fields).encode()
    assert [name for name, _ in fields] == (["f.req"] if token is None else ["at", "f.req"])
    assert token is None or dict(fields)["at"] == token


@pytest.mark.parametrize("prompt", ["plain & simple", "你好 \U0001f600\n"])
def test_a_prompt_comes_out_of_the_form_as_it_was(prompt):
    form = encode.generate_form(msgspec.structs.replace(CALL, prompt=prompt), None)
    slots = msgspec.json.decode(msgspec.json.decode(dict(parse_qsl(form.decode()))["f.req"])[1])
    assert slots[0][0] == prompt
