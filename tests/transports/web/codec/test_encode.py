from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest

from transports.web.codec import encode
from transports.web.codec.answer import SiteConversation
from transports.web.config import Slots

CALL = encode.GenerateCall(prompt="", language="en", request_uuid="U", client_uuid="C", model=None)


@pytest.mark.parametrize(
    "prompt",
    ["", "plain", "".join(map(chr, range(0x180))), "a+b&c=d%20\n\r\n", "你好 \U0001f600", "a lone \ud83d half"],
)
@pytest.mark.parametrize("token", [None, "AK+/=:1"])
def test_a_form_equals_the_standard_librarys_encoding(prompt, token):
    form = encode.generate_form(msgspec.structs.replace(CALL, prompt=prompt), token)
    fields = parse_qsl(form.decode("ascii"), strict_parsing=True)
    assert form == urlencode(fields).encode()
    assert [name for name, _ in fields] == (["f.req"] if token is None else ["at", "f.req"])
    assert token is None or dict(fields)["at"] == token


@pytest.mark.parametrize("prompt", ["plain & simple", "你好 \U0001f600\n"])
def test_a_prompt_is_unchanged_after_decoding_the_form(prompt):
    form = encode.generate_form(msgspec.structs.replace(CALL, prompt=prompt), None)
    slots = msgspec.json.decode(msgspec.json.decode(dict(parse_qsl(form.decode()))["f.req"])[1])
    assert slots[0][0] == prompt


def slots_of(**call):
    form = encode.generate_form(msgspec.structs.replace(CALL, **call), None)
    return msgspec.json.decode(msgspec.json.decode(dict(parse_qsl(form.decode()))["f.req"])[1])


def file_of(mime, name="a.bin"):
    return encode.Uploaded(path="/contrib_service/ttl_1d/1", name=name, mime=mime)


@pytest.mark.parametrize(
    ("mime", "kind"),
    [
        ("image/png", 1),
        ("IMAGE/PNG", 1),
        ("image/svg+xml", 1),
        ("video/mp4", 2),
        ("audio/mpeg", 3),
        ("application/pdf", 3),
        ("text/plain", 3),
    ],
)
def test_an_attachment_is_encoded_as_browsers_do(mime, kind):
    (entry,) = slots_of(files=(file_of(mime),))[0][3]
    assert entry == [["/contrib_service/ttl_1d/1", kind, None, mime], "a.bin", *[None] * 6, [0]]


def test_the_short_form_of_an_attachment_is_a_setting():
    files = (file_of("image/png", "a.png"), file_of("text/plain", "b.txt"))
    entries = slots_of(files=files, forms=Slots(attachments="short"))[0][3]
    assert entries == [[["/contrib_service/ttl_1d/1"], "a.png"], [["/contrib_service/ttl_1d/1"], "b.txt"]]


def test_a_turn_without_files_has_null_for_them():
    assert slots_of()[0][3] is None


def test_a_temporary_chat_differs_from_a_saved_one():
    kept, temporary = slots_of(temporary=False), slots_of(temporary=True)
    assert (kept[6], kept[45], kept[67], kept[68]) == ([1], None, None, 1)
    assert (temporary[6], temporary[45], temporary[67], temporary[68]) == ([1], 1, 0, 2)


def test_forms_on_which_sources_differ_are_settings():
    forms = Slots(slot_6=0, slot_6_temporary=2, slot_41=2, slot_67_temporary=-1, slot_68=2, slot_68_temporary=1)
    kept, temporary = slots_of(temporary=False, forms=forms), slots_of(temporary=True, forms=forms)
    assert (kept[6], kept[41], kept[67], kept[68]) == ([0], [2], None, 2)
    assert (temporary[6], temporary[41], temporary[67], temporary[68]) == ([2], [2], None, 1)


@pytest.mark.parametrize(("counted", "index"), [(True, 5), (False, 0)])
def test_the_turn_index_is_counted_or_always_0(counted, index):
    forms = Slots(turn_index=counted)
    assert slots_of(forms=forms)[17] == [[0]]
    conversation = SiteConversation(cid="c_1", rid="r_1", rcid="rc_1", turn=4)
    assert slots_of(conversation=conversation, forms=forms)[17] == [[index]]


def test_a_capabilitys_slots_override_the_settings():
    assert slots_of(slots={41: ["other"]})[41] == ["other"]
