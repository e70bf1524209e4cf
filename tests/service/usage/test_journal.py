"""Lines of the journal outlive a killed process, and no process takes those of a living one."""

import os
import signal
import subprocess
import sys

import pytest

from service.usage.journal import Journal

WRITER = """
import sys, time
from pathlib import Path
from service.usage.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.write(b"one"); journal.write(b"two")
print("written", flush=True)
time.sleep(60)
"""


def lines_in(journal):
    found = []
    for path in journal.files():
        taken = journal.take(path)
        if taken is not None:
            found += taken.lines.splitlines()
            taken.delete()
    return sorted(found)


def test_lines_of_a_living_process_are_left_and_those_of_a_killed_one_are_taken(tmp_path):
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"written\n"
        journal = Journal(tmp_path)
        assert lines_in(journal) == []
        os.kill(writer.pid, signal.SIGKILL)
    assert lines_in(journal) == [b"one", b"two"]
    journal.close_file()


def test_a_file_that_was_left_is_taken_again(tmp_path):
    journal, other = Journal(tmp_path), Journal(tmp_path)
    journal.write(b"one")
    journal.close_file()
    other.close_file()
    path = next(one for one in journal.files() if one.stat().st_size)
    taken = journal.take(path)
    assert other.take(path) is None
    taken.sync()
    taken.leave()
    journal.write(b"two")
    journal.close_file()
    assert lines_in(journal) == [b"one", b"two"]
    assert journal.files() == []


@pytest.mark.parametrize("place", ["a file", None])
def test_without_a_folder_lines_are_kept_in_memory_in_their_order(tmp_path, place):
    (tmp_path / "a file").write_text("")
    journal = Journal(tmp_path / place / "journal" if place else None)
    assert journal.in_memory
    journal.write(b"one")
    journal.write(b"two")
    lines = journal.take_memory()
    journal.write(b"three")
    journal.put_back(lines)
    assert journal.take_memory().split() == [b"one", b"two", b"three"]
    assert journal.files() == []
