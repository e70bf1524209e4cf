"""Commands that run in the process of the tests: starting one costs half a second."""

import contextlib
import gc
import logging
import warnings
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from service.cli.main import main


class Done(NamedTuple):
    """A command that has ended, with the fields of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def run_in_process(folder, *arguments, given="", env=None):
    """Run `gemini-gateway` with these arguments in a folder."""
    handlers, level = logging.root.handlers[:], logging.root.level
    runner = CliRunner()
    try:
        with contextlib.chdir(folder), runner.isolation(input=given, env=env) as (out, err, _):
            try:
                main(arguments)
            except SystemExit as end:
                status = end.code
            else:
                status = 0
            return Done(status or 0, out.getvalue().decode(), err.getvalue().decode())
    finally:
        logging.root.handlers[:] = handlers  # the command's own handler writes to its own standard error
        logging.root.setLevel(level)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()  # sockets of a command that failed to start: in its own process they end with it


@pytest.fixture
def command(tmp_path):
    """Runs `gemini-gateway` in an empty folder with empty settings."""
    (tmp_path / "gateway.toml").write_text("")

    def run(*arguments, **options):
        return run_in_process(tmp_path, *arguments, **options)

    return run
