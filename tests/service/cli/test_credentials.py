import io

import click
import pytest
from click.testing import CliRunner

from service.cli.credentials import read_credential, read_file
from transports.web import ACCOUNTS

PSID, PSIDTS = (part.option for part in ACCOUNTS.parts)
VARIABLE = ACCOUNTS.parts[0].variable


@pytest.fixture
def terminal(monkeypatch):
    """Make standard input a terminal; return the answers to give, and the prompts that were shown."""
    answers, asked = [], []

    def prompt(text, **options):
        assert options["hide_input"]
        asked.append(text)
        return answers.pop(0)

    stdin = io.StringIO()
    stdin.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr("click.prompt", prompt)
    return answers, asked


def test_a_file_is_read(tmp_path):
    (tmp_path / "cookies").write_text("a credential\n")
    assert read_credential(ACCOUNTS, tmp_path / "cookies", {}) == "a credential"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_standard_input_is_read(monkeypatch, encoding):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("a credential\n".encode(encoding))))
    assert read_credential(ACCOUNTS, None, {}, stdin=True) == "a credential\n"


def test_standard_input_that_is_not_text_is_refused(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xff canary")))
    with pytest.raises(click.ClickException, match="standard input is neither UTF-8") as caught:
        read_credential(ACCOUNTS, None, {}, stdin=True)
    assert "canary" not in caught.value.message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(click.ClickException, match="nowhere"):
        read_file(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "values", "stdin"), [("f", {}, True), ("f", {PSID: "x"}, False), (None, {PSID: "x"}, True)]
)
def test_more_than_one_source_is_refused(tmp_path, file, values, stdin):
    with pytest.raises(click.UsageError, match="give only one of --secret-file, --secret-stdin, --"):
        read_credential(ACCOUNTS, tmp_path / file if file else None, values, stdin=stdin)


def test_without_a_source_and_a_terminal_the_options_are_named(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(click.UsageError, match="use --secret-file, pipe it to --secret-stdin, or run in a terminal"):
        read_credential(ACCOUNTS, None, {})


@pytest.mark.parametrize(
    ("arguments", "environment", "warned"), [([f"--{PSID}", "x"], {}, True), ([], {VARIABLE: "x"}, False)]
)
def test_a_credential_among_the_arguments_causes_a_warning(arguments, environment, warned):
    @click.command
    @click.option(f"--{PSID}", PSID, envvar=VARIABLE)
    def command(**values):
        click.echo(read_credential(ACCOUNTS, None, values))

    done = CliRunner().invoke(command, arguments, env=environment)
    assert done.stdout == "x\n"
    assert ("other users of this machine can see arguments" in done.stderr) is warned


def test_a_terminal_prompts_for_each_part_without_showing_it(terminal):
    answers, asked = terminal
    answers += ["first", "second"]
    assert read_credential(ACCOUNTS, None, {}) == "first\nsecond"
    assert asked == [part.prompt for part in ACCOUNTS.parts]


def test_a_complete_first_answer_needs_no_second_prompt(terminal):
    answers, asked = terminal
    answers.append("__Secure-1PSID=a; __Secure-1PSIDTS=b")
    assert read_credential(ACCOUNTS, None, {}) == "__Secure-1PSID=a; __Secure-1PSIDTS=b"
    assert len(asked) == 1
