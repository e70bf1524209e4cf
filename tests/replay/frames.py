"""Writes answers as the site frames them, for cases that no capture holds. It shares no code with the product.

Source: docs/gemini-web-protocol.md, "Response".
"""

import json
import random

PREFIX = ")]}'\n\n"
ERROR_TYPE = "type.googleapis.com/assistant.boq.bard.application.BardErrorInfo"
ANSWER_FIELDS = 44


def utf16(text):
    """Return the length of a text in UTF-16 code units, as JavaScript counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def dump(value, *, escaped=False):
    return json.dumps(value, ensure_ascii=escaped, separators=(",", ":"))


def frame(*parts, escaped=False):
    """Return one frame; its length counts both newlines."""
    text = f"\n{dump(list(parts), escaped=escaped)}\n"
    return f"{utf16(text)}{text}"


def body(*frames):
    """Return a whole body of frames; a frame may be given as its parts."""
    return (PREFIX + "".join(one if isinstance(one, str) else frame(*one) for one in frames)).encode()


def content(inner, *, escaped=False):
    """Return the part that carries `inner`."""
    return ["wrb.fr", None, dump(inner, escaped=escaped)]


def sparse(length, fields):
    """Return an array with these fields set; beyond `length` they go into a dict at its end, one higher by name."""
    array = [None] * length
    beyond = {str(index + 1): value for index, value in fields.items() if index >= length}
    for index, value in fields.items():
        if index < length:
            array[index] = value
    return [*array, beyond] if beyond else array


def candidate(text, *, done=True, rcid="rc_00000000000000aa", rich=None, **fields):
    """Return a candidate; `fields` are `f2=…` for `[2]` and the like."""
    known = {0: rcid, 1: [text], 8: [2 if done else 1], 9: "en"}
    if rich is not None:
        known[12] = [{str(index + 1): value for index, value in rich.items()}]
    known |= {int(name[1:]): value for name, value in fields.items()}
    return sparse(max(known) + 1, known)


def snapshot(*candidates, cid="c_00000000000000a1", rid="r_00000000000000a1", model=None, dense=True, more=None):
    """Return the part of one snapshot of the answer; `model` is the id and name of who answers."""
    fields = {1: [cid, rid], 4: list(candidates), **(more or {})}
    if model is not None:
        fields |= {39: model[0], 42: model[1]}
    return content(sparse(ANSWER_FIELDS if dense and model is not None else max(5, *(more or {4: 0})) + 1, fields))


def text_frames(*texts, **options):
    """Return a frame for each text; the last frame is complete."""
    last = len(texts) - 1
    return [[snapshot(candidate(text, done=at == last), **options)] for at, text in enumerate(texts)]


def title(words="A title", cid="c_00000000000000a1", rid="r_00000000000000a1"):
    return content([None, [cid, rid], {"11": [words], "44": True}])


def ids(rid="r_00000000000000a1", cid=None):
    """Return the part of ids that stands in front of an answer."""
    return content([None, [cid, rid], {"18": rid, "21": ["token"], "44": True}])


def progress(words="Creating your image", cid="c_00000000000000a1", rid="r_00000000000000a1"):
    """Return the part that tells what tool runs, in front of any candidate."""
    tool = [None, ["data_analysis_tool", [None, None, words], 1]]
    return content([None, [cid, rid], {"7": tool}, None, None, None, tool])


def error(code, status=13):
    """Return the part of an in-stream code."""
    return ["wrb.fr", None, None, None, None, [status, None, [[ERROR_TYPE, [code]]]]]


def queued(number=4):
    return ["wrb.fr", None, None, None, None, [number]]


def failed_with(status):
    return ["er", None, None, None, None, status, None, None, None, 3]


BOOKKEEPING = [["di", 192], ["af.httprm", 191, "8196459853603899163", 2]]
END = [["e", 4, None, None, 216]]
STATE_ONLY = [["wrb.fr", None, '[{"37":[0]}]']]


def answer(*texts, end=END, **options):
    """Return the body of an ordinary answer, snapshot by snapshot."""
    return body(*text_frames(*texts, **options), BOOKKEEPING, *([end] if end else []))


def rpc(name, payload, *, fourth="generic"):
    """Return the part of a batch answer."""
    return ["wrb.fr", name, dump(payload), None, None, None, fourth]


def denied(name, status, *, fourth="generic"):
    return ["wrb.fr", name, None, None, None, [status], fourth]


def xsrf(token, account="100000000000000000000"):
    """Return the body of an HTTP 400 that brings a token."""
    return body([["er", *[None] * 4, 400, None, None, None, 3, [{"48448350": ["xsrf", token, [account]]}]]], END)


def page(**values):
    """Return the page /app with these values in it, as a script of the page holds them."""
    return f"<!doctype html><script>window.WIZ_global_data = {dump(values)};</script>".encode()


def whole(data):
    return [data]


def by_bytes(data):
    return [data[at : at + 1] for at in range(len(data))]


def by_chunks(data, seed=4711, longest=40):
    chunks, rng, at = [], random.Random(seed), 0
    while at < len(data):
        chunks.append(data[at : (at := at + rng.randint(1, longest))])
    return chunks


def inside_characters(data):
    """Cut a body in the middle of each character that takes more than one byte, and of each number before a frame."""
    edges = [at for at in range(1, len(data)) if data[at] & 0xC0 == 0x80 or data[at - 1 : at + 1] == b"\n["]
    return [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True) if a != b]


CUTS = {"whole": whole, "bytes": by_bytes, "chunks": by_chunks, "inside": inside_characters}


def saved_turn(prompt, *candidates, cid="c_00000000000000a1", rid="r_00000000000000a1"):
    """Return a turn of a saved conversation, as `hNvQHb` has it."""
    return [[cid, rid], None, [[prompt]], [list(candidates)], [1788200602, 0]]


def saved_chat(seconds, cid="c_00000000000000a1", words="A title"):
    """Return a conversation of the list, as `MaZiqc` has it."""
    return [cid, words, None, None, None, [seconds, 749541000], None, None, None, 2]


def film(url, thumbnail="https://lh3.googleusercontent.com/thumbnail"):
    """Return the rich content of a video that is there."""
    return {59: [[[[[*[None] * 7, [thumbnail, url]]]]]]}


def image(url, *, identity="http://googleusercontent.com/image_generation_content/0", mime="image/png"):
    """Return an item of generated pictures."""
    picture = [None, 1, "name.png", url, None, "$AV-opaque", *[None] * 5, mime, *[None] * 3, [1408, 768, 512969]]
    return [[None, None, None, picture], [identity]]


def images(*urls):
    """Return the rich content of generated pictures."""
    return {7: [[image(url) for url in urls]]}
