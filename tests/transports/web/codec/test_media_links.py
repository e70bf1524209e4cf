from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transports.web.codec.markup import Cleaner
from transports.web.codec.media_links import LinkRemover

LINKS = (
    "https://lh3.googleusercontent.com/gg/AbC-_1=s1024-rj",
    "http://contribution.usercontent.google.com/download?c=x&filename=video.mp4",
    "HTTPS://work.fife.usercontent.google.com:443/rd-gg-dl/x",
)


def read(*pieces):
    remover = LinkRemover()
    return "".join(map(remover.push, pieces)) + remover.flush(), remover


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("around", ["{}", "see {} here", "![a]({})", "`{}`", "```\n{}\n```\n", "<{}>", '"{}"', "[{}]"])
def test_a_link_is_removed_wherever_it_stands_and_however_it_is_cut(link, around):
    text = around.format(link)
    for size in (1, 3, 7, len(text)):
        found, remover = read(*(text[start : start + size] for start in range(0, len(text), size)))
        assert found == around.format("")
        assert remover.removed


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/googleusercontent.com/x",
        "https://googleusercontent.com.example/x",
        "https://www.gstatic.com/x",
        "https://googleusercontent.co",
        "lh3.googleusercontent.com/gg/x",
        "with h",
        "http",
        "https://lh3.googleusercontent.com",
        "hthttps:/ h t t p",
    ],
)
def test_other_text_stays(text):
    for size in (1, 4, len(text)):
        found, remover = read(*(text[start : start + size] for start in range(0, len(text), size)))
        assert (found, remover.removed) == (text, False)


OTHERS = (" ", "h", "http", "https://", "a", "`", "\n", "(", ")", "\U0001f600")
WORDS = st.lists(st.sampled_from([*LINKS, *OTHERS]), max_size=12)


@settings(max_examples=100)
@given(WORDS, st.lists(st.integers(0, 300), max_size=6))
def test_the_result_does_not_depend_on_the_pieces(words, cuts):
    text = "".join(words)
    cuts = [0, *sorted(cut for cut in cuts if cut <= len(text)), len(text)]
    found, remover = read(*(text[start:end] for start, end in pairwise(cuts)))
    assert found == read(text)[0]
    assert "usercontent" not in found.lower()
    if not remover.removed:
        cleaner = Cleaner()
        assert found == cleaner.push(text) + cleaner.flush()
    places = [remover.map_index(index) for index in range(len(text) + 1)]
    assert places == sorted(places)
    assert all(text[index] == found[place] for index, place in enumerate(places[:-1]) if places[index + 1] == place + 1)
