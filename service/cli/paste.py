"""Read a pasted session without echoing it.

A terminal limits a line to 4096 bytes in canonical mode, which is less than a Cookie header may have. So canonical mode
and echo are off while reading (Ctrl-C still works), and input left after the blank line is flushed, so that the shell
does not run it.
"""

import codecs
import os
import sys
from collections.abc import Callable, Iterator

import click

_END, _ERASE = "\x04", "\x7f"
_LOCAL_MODES = 3
_MAX_LENGTH = 1 << 20


def paste(prompt: str) -> str:
    """Prompt for text that ends with an empty line or Ctrl-D.

    Raises:
        click.Abort: the input ended without text.

    """
    if not sys.stdin.isatty():
        click.echo(prompt, err=True)
        return read_until_blank(iter(sys.stdin.readline, ""))
    import termios  # missing on Windows

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    during = list(before)
    during[_LOCAL_MODES] = int(before[_LOCAL_MODES]) & ~(termios.ECHO | termios.ICANON)
    try:
        termios.tcsetattr(terminal, termios.TCSADRAIN, during)
        click.echo(prompt, err=True)
        text = read_until_blank(_lines(lambda: os.read(terminal, 4096)))
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)  # discard the rest of the input
    click.echo(f"({len(text)} characters)", err=True)
    return text


def read_until_blank(lines: Iterator[str]) -> str:
    """Return the text up to an empty line, ignoring empty lines before the first line that is not a comment."""
    found: list[str] = []
    size = 0
    for line in lines:
        size += len(line)
        if size > _MAX_LENGTH:
            raise click.ClickException("the input is too long for a session; paste the cookies only")
        if line.strip():
            found.append(line.rstrip("\r\n"))
        elif any(not line.startswith("#") for line in found):
            break
    if not found:
        raise click.Abort
    return "\n".join(found)


def _lines(read: Callable[[], bytes]) -> Iterator[str]:
    """Yield typed lines, handling backspace and Ctrl-D."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    line = ""
    while data := read():
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
