"""The picture of the README shows what the commands print."""

from tests.picture import PICTURE, record, render


def test_the_terminal_picture_is_what_the_commands_print_now(tmp_path):
    assert render(record(tmp_path)) == PICTURE.read_text(), "run `make picture`, and look at docs/terminal.svg"


def test_the_terminal_picture_fetches_nothing():
    text = PICTURE.read_text()
    assert "@font-face" not in text
    assert "url(http" not in text
    assert "href" not in text
