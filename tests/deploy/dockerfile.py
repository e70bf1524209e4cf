"""A Dockerfile read, and what its context lets through, as far as ours goes."""

import fnmatch
import json
import re

from tests.conftest import ROOT

PATH = ROOT / "deploy" / "Dockerfile"


def instructions():
    """Return the instructions, each its name and its words, in order."""
    lines = [line for line in PATH.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line]


def of(name):
    """Return the words of every instruction of a name."""
    return [words for found, words in instructions() if found == name]


def last(name):
    """Return the words of the last instruction of a name: a list, where they are written as one."""
    words = of(name)[-1]
    return json.loads(words) if words.startswith("[") else words


def variables():
    """Return the variables of the image's environment."""
    return dict(re.findall(r"([A-Z_]+)=(\S+)", last("ENV")))


def copied():
    """Return what the build takes from the repository."""
    sources = [words.split()[:-1] for words in of("COPY") if not words.startswith("--from")]
    return [source for group in sources for source in group]


def let_through(path):
    """Tell whether .dockerignore lets a path into the context: its last line that matches it, or a folder of it."""
    parts = path.split("/")
    folders = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    kept = True
    for line in (ROOT / ".dockerignore").read_text().split():
        pattern = line.removeprefix("!").replace("**/", "*")
        if any(fnmatch.fnmatchcase(folder, pattern) for folder in folders):
            kept = line.startswith("!")
    return kept
