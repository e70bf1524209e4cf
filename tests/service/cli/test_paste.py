import click
import pytest

from service.cli.paste import read_until_blank

NETSCAPE = "# Netscape HTTP Cookie File\n# made by an extension\n\n.google.com\tTRUE\tv\n\nrest\n"


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("one\ntwo\n\nthree\n", "one\ntwo"),
        ("\n\none\r\n", "one"),
        ("one", "one"),
        (NETSCAPE, "# Netscape HTTP Cookie File\n# made by an extension\n.google.com\tTRUE\tv"),
    ],
    ids=["an empty line ends it", "empty lines before it do not count", "the end ends it", "comments tell nothing"],
)
def test_a_paste_ends_at_an_empty_line(typed, taken):
    assert read_until_blank(iter(typed.splitlines(keepends=True))) == taken


def test_empty_and_too_long_input_is_refused():
    with pytest.raises(click.Abort):
        read_until_blank(iter(["\n"]))
    with pytest.raises(click.ClickException, match="too long"):
        read_until_blank(iter(lambda: "x" * 65536, ""))
