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
def test_what_is_pasted_ends_where_it_is_whole(typed, taken):
    assert read_until_blank(iter(typed.splitlines(keepends=True))) == taken


def test_nothing_is_no_session_and_too_much_is_none():
    with pytest.raises(click.Abort):
        read_until_blank(iter(["\n"]))
    with pytest.raises(click.ClickException, match="too long"):
        read_until_blank(iter(lambda: "x" * 65536, ""))
