"""The document of an answer, wherever the API cuts its text."""

import pytest

from protocol.model import Document, Text
from transports.generate_content.canvas import DocumentReader

CODE = 'A page.\n\n<document title="Fox">\n```html\n<p>a < b</p>\n```\n</document>\nDone.'
PROSE = '<document title="Tea">\n# Tea\n\nIt is <document> old.\n</document>'


def read(text, size):
    reader, events = DocumentReader(), []
    for start in range(0, len(text), size):
        events += reader.read(text[start : start + size])
    events += reader.read("", last=True)
    return "".join(one.text for one in events if isinstance(one, Text)), [
        one for one in events if isinstance(one, Document)
    ]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("text", "shown", "document"),
    [
        (CODE, "A page.\n\n```html\n<p>a < b</p>\n```\n\nDone.", ("Fox", "html")),
        (PROSE, "# Tea\n\nIt is <document> old.\n", ("Tea", "markdown")),
        ('<document title="X">\n```\ncut off', "```\ncut off", ("X", "text")),
        ("a <b> <document", "a <b> <document", None),
    ],
)
def test_the_mark_becomes_an_event(text, shown, document, size):
    expected = [Document(title=document[0], kind=document[1])] if document else []
    assert read(text, size) == (shown, expected)
