import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from service.cli.main import cli
from service.config.loader import SettingsError
from service.storage.factory import StoreUnreachable
from tests.conftest import ROOT

ASK = """
source {script}
COMP_WORDS=({words}) COMP_CWORD={last}
_gemini_gateway_completion gemini-gateway
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("gemini-gateway acc", "accounts"),
        ("gemini-gateway accounts pa", "pause"),
        ("gemini-gateway init --sim", "--simulator"),
        ("gemini-gateway completion z", "zsh"),
    ],
)
def test_bash_completes_commands_and_options(tmp_path, words, completed):
    script = tmp_path / "completion"
    script.write_text(CliRunner().invoke(cli, ["completion", "bash"], prog_name="gemini-gateway").output)
    command = ASK.format(script=script, words=words, last=words.count(" "))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        ["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == [completed], done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_have_a_script(shell):
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert "_GEMINI_GATEWAY_COMPLETE" in done.output


def test_the_version_and_the_help_are_there(command):
    assert re.fullmatch(r".+, version \d+\.\d+\.\d+\S*\n", command("--version").stdout)
    for name in ("demo", "serve", "simulate", "licenses", "config", "init", "completion"):
        assert name in command("--help").stdout
        assert command(name, "--help").returncode == 0


def test_the_readme_names_only_commands_that_exist(command):
    for match in re.findall(r"(?m)(?:^|`)gemini-gateway ((?:[a-z]+ ?){1,2})", (ROOT / "README.md").read_text()):
        words = match.split()
        assert command(*words[:2], "--help").returncode == 0 or command(words[0], "--help").returncode == 0


def test_every_summary_fits_one_column_of_the_help(command):
    rows = re.findall(r"(?m)^  ([a-z]+)  +(\S.*)$", command("--help").stdout.partition("Commands:")[2])
    assert len(rows) >= 11
    for name, summary in rows:
        assert len(summary) <= 45
        commands = command(name, "--help").stdout.partition("Commands:")[2]
        assert all(len(line) <= 45 for line in re.findall(r"(?m)^  [a-z]+  +(\S.*)$", commands)), name


def test_an_unexpected_error_is_not_hidden(command, monkeypatch):
    monkeypatch.setattr("service.cli.config_dump.settings_at", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command("config", "check")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SettingsError("wrong"), 78),
        (StoreUnreachable("away"), 1),
        (OSError(5, "Input/output error", "a"), 1),
        (click.ClickException("failed"), 1),
        (click.UsageError("unknown"), 2),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 1),
    ],
    ids=repr,
)
def test_the_exit_status_tells_wrong_settings_from_passing_trouble(command, monkeypatch, error, status):
    def fail(path):
        raise error

    monkeypatch.setattr("service.cli.config_dump.settings_at", fail)
    done = command("config", "check")
    assert done.returncode == status
    assert done.stderr.strip()


def test_ctrl_c_at_a_prompt_is_an_interruption(command, monkeypatch):
    def interrupted(*_, **__):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise click.Abort from None  # as click's own prompts do

    monkeypatch.setattr("service.cli.accounts.click.confirm", interrupted)
    assert command("accounts", "remove", "x").returncode == 130


def test_a_declined_prompt_and_wrong_usage_have_their_own_status(command):
    assert command("accounts", "remove", "x", given="n\n").returncode == 1
    assert command("serve", "--prot", "1").returncode == 2
    assert command("unknown").returncode == 2
