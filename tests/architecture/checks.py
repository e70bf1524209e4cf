"""Checks of names, wording and helpers that `make check` runs: `python -m tests.architecture.checks`.

Each check returns its findings as lines `path:line: message`. With `-v` the findings of a check that has a ceiling are
printed even if it is not exceeded.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ROOMS = ("service", "protocol", "transports")

WIRE_CLASSES = {
    *("Generation", "Images", "Source", "ToolCall", "Usage"),
    *("Blob", "Candidate", "CodeExecutionResult", "Content", "ContentPart", "ExecutableCode", "FileData"),
    *("FunctionCall", "FunctionCallingConfig", "FunctionDeclaration", "FunctionResponse", "GenerationConfig"),
    *("GroundingChunk", "GroundingMetadata", "GroundingSupport", "PromptFeedback", "Segment", "ThinkingConfig"),
    *("Tool", "ToolConfig", "UsageMetadata"),
}
"""Structs of `wire.py` files that are named as the dialect's documentation names them: OpenAI's and Google's."""

REPEATED_FILES = {
    "accounts",  # the accounts of a transport; the command `accounts`
    "app",  # an ASGI app
    "background",  # answers, and calls of the site, that outlive their request
    "config",  # the settings of a part
    "download",  # of media, from the site and to the client
    "endpoint",  # the endpoint of a dialect's part
    "errors",  # the errors of a part
    "media_types",  # detected in bytes; named in requests
    "memory",  # the store in memory; the memory of the process
    "metrics",  # the metrics of a part
    "models",  # the list of models of a dialect; the models of a site
    "port",  # a protocol that other rooms implement
    "read",  # from a dialect's request to a GenerationRequest
    "records",  # what a part keeps in the store
    "routes",  # the routes of an app
    "store",  # the store of a part; the command `store`
    "transport",  # what a transport does
    "tracing",  # the port of traces; OpenTelemetry behind it
    "wire",  # the wire format of a part
    "write",  # from events to a dialect's response
}
"""File names whose folder gives their meaning. The simulator may repeat others: it has a counterpart for most parts."""

BANNED_PHRASES = ROOT / "tests" / "architecture" / "banned_phrases.txt"
PROSE_CEILING = 0
SINGLE_USE_SHARE = 0.12
"""Private functions that are used exactly once, as a share of all functions."""


def tracked(*patterns: str) -> list[Path]:
    """Return the files that git tracks, or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return sorted(path for name in listed if name and (path := ROOT / name).exists())


def sources() -> list[Path]:
    """Return the modules of the product."""
    return tracked(*(f"{room}/*.py" for room in ROOMS))


def place(path: Path, line: int = 1) -> str:
    """Return where a finding is."""
    return f"{path.relative_to(ROOT)}:{line}"


def repeated_classes() -> list[str]:
    """Find classes that share their name with another one."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not (path.name.endswith("wire.py") and node.name in WIRE_CLASSES):
                found[node.name].append(place(path, node.lineno))
    repeated = {name: places for name, places in found.items() if len(places) > 1}
    return [f"{places[0]}: class {name} is also in {', '.join(places[1:])}" for name, places in repeated.items()]


def repeated_files() -> list[str]:
    """Find modules that share their file name with another one, though the name has no meaning by its folder."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sources():
        if path.stem not in {*REPEATED_FILES, "__init__"} and path.parent != ROOT / "transports" / "simulator":
            found[path.stem].append(path)
    repeated = {name: paths for name, paths in found.items() if len(paths) > 1}
    return [
        f"{place(paths[0])}: file name {name}.py is also in {', '.join(place(path) for path in paths[1:])}"
        for name, paths in repeated.items()
    ]


def banned_phrases() -> list[tuple[re.Pattern[str], str]]:
    """Return the patterns of banned phrases, each with what to write instead."""
    rows = [line.partition(" => ") for line in BANNED_PHRASES.read_text().splitlines() if not line.startswith("#")]
    return [(re.compile(pattern, re.IGNORECASE), instead) for pattern, _, instead in rows]


class Block:
    """Prose of consecutive lines, joined so that a phrase is found across a line break."""

    def __init__(self, first_line: int, text: str) -> None:
        """Join the lines of `text`, which begins at `first_line`."""
        self.text, self._starts = "", []
        for number, line in enumerate(text.split("\n")):
            self._starts.append((len(self.text), first_line + number))
            self.text += line.strip().removeprefix("#").strip() + " "

    def line(self, offset: int) -> int:
        """Return the line of a place in the text."""
        return next(line for start, line in reversed(self._starts) if start <= offset)


def prose(path: Path) -> Iterator[Block]:
    """Yield the prose of a file: all of a page, and the comments and strings of a module."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from _prose_of_code(text)
    else:
        yield Block(
            1, re.sub(r"```.*?```|`[^`\n]*`", lambda code: re.sub(r"[^\n]", " ", code[0]), text, flags=re.DOTALL)
        )


def _prose_of_code(text: str) -> Iterator[Block]:
    first, lines = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if first and token.start[0] != first + len(lines):
                yield Block(first, "\n".join(lines))
                first, lines = 0, []
            first = first or token.start[0]
            lines.append(token.string)
        elif token.type in {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}:
            yield Block(token.start[0], token.string)
    if first:
        yield Block(first, "\n".join(lines))


def banned_prose() -> list[str]:
    """Find banned phrases."""
    phrases = banned_phrases()
    pages = tracked("*.md", "*.toml", "*.yml", "*.yaml")
    found = list[str]()
    for path in [*sources(), *(page for page in pages if page.parts[len(ROOT.parts)] != "tests")]:
        for block in prose(path):
            for pattern, instead in phrases:
                found += [
                    f'{place(path, block.line(match.start()))}: "{match[0]}": {instead}'
                    for match in pattern.finditer(block.text)
                ]
    return found


def banned_test_names() -> list[str]:
    """Find test names with a banned phrase, an underscore read as a blank."""
    phrases = banned_phrases()
    found = list[str]()
    for path in tracked("tests/*.py"):
        for name in re.finditer(r"def test_(\w+)", text := path.read_text()):
            for pattern, instead in phrases:
                if match := pattern.search(name[1].replace("_", " ")):
                    line = text.count("\n", 0, name.start()) + 1
                    found.append(f'{place(path, line)}: "{match[0]}" in {name[1]}: {instead}')
    return found


def single_use_helpers() -> tuple[list[str], int]:
    """Find private functions that their module names exactly once; return also the number of all functions."""
    found, total = list[str](), 0
    for path in sources():
        nodes = list(ast.walk(ast.parse(path.read_text())))
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        uses = Counter(node.id for node in nodes if isinstance(node, ast.Name))
        uses.update(node.attr for node in nodes if isinstance(node, ast.Attribute))
        names = Counter(node.name for node in functions)
        found += [
            f"{place(path, node.lineno)}: {node.name} is used once"
            for node in functions
            if node.name.startswith("_") and not node.name.startswith("__") and uses[node.name] == names[node.name] == 1
        ]
        total += len(functions)
    return found, total


def main() -> int:
    """Run all checks; print what is wrong and return the exit status."""
    verbose = "-v" in sys.argv[1:]
    helpers, functions = single_use_helpers()
    checks = [
        ("repeated class names", repeated_classes(), 0),
        ("repeated file names", repeated_files(), 0),
        ("banned phrases", banned_prose(), PROSE_CEILING),
        ("banned phrases in test names", banned_test_names(), 0),
        (f"helpers used once, of {functions} functions", helpers, int(functions * SINGLE_USE_SHARE)),
    ]
    failed = False
    for name, findings, ceiling in checks:
        exceeded = len(findings) > ceiling
        failed = failed or exceeded
        print(f"{name}: {len(findings)}{f' (at most {ceiling})' if ceiling else ''}")
        if exceeded or verbose:
            print(*(f"  {finding}" for finding in findings), sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
