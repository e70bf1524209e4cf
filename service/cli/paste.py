"""Reads a session that is pasted: nothing of it is shown, and nothing is left over for whoever reads next."""

import codecs
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import click

_END, _ERASE = "\x04", "\x7f"
_LOCAL_MODES = 3
_MAX_LENGTH = 1 << 20


def paste(prompt: str) -> str:
    """Ask for text of several lines, which ends with an empty line or Ctrl-D.

    Raises:
        click.Abort: nothing more comes, and nothing came.

    """
    if not sys.stdin.isatty():
        click.echo(prompt, err=True)
        return read_until_blank(iter(sys.stdin.readline, ""))
    with _raw_terminal(sys.stdin.fileno()) as more:
        click.echo(prompt, err=True)
        text = read_until_blank(_lines(more))
    click.echo(f"({len(text)} characters)", err=True)
    return text


def read_until_blank(lines: Iterator[str]) -> str:
    """Return what comes up to an empty line; those before the first line that tells something do not count."""
    found: list[str] = []
    size = 0
    for line in lines:
        size += len(line)
        if size > _MAX_LENGTH:
            raise click.ClickException("that is too long for a session")
        if line.strip():
            found.append(line.rstrip("\r\n"))
        elif any(not line.startswith("#") for line in found):
            break
    if not found:
        raise click.Abort
    return "\n".join(found)


@contextmanager
def _raw_terminal(terminal: int) -> Generator[Callable[[], bytes]]:
    """Yield what reads from a terminal that shows nothing and takes lines of any length; Ctrl-C works as ever."""
    import termios  # no part of Windows' Python, which takes the way of `paste` for what is no terminal

    before = termios.tcgetattr(terminal)
    during = list(before)
    during[_LOCAL_MODES] = int(before[_LOCAL_MODES]) & ~(termios.ECHO | termios.ICANON)
    try:
        termios.tcsetattr(terminal, termios.TCSADRAIN, during)
        yield lambda: os.read(terminal, 4096)
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)  # what else was pasted goes nowhere


def _lines(more: Callable[[], bytes]) -> Iterator[str]:
    """Return the lines that are typed."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    line = ""
    while data := more():
        for character in decode(data):
            if character == _END:
                yield line
                return
            if character == "\n":
                yield line
                line = ""
            else:
                line = line[:-1] if character == _ERASE else line + character
    yield line
