"""The shape of the code: who imports whom is `lint-imports`' business, the rest is here."""

import ast
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

ROOMS = ("service", "protocol", "transports")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TESTS = sorted(path for room in ROOMS for path in (ROOT / "tests" / room).rglob("test_*.py"))
LONGEST_FILE, LONGEST_FUNCTION, DEEPEST = 500, 60, 4
BLOCKS = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def name_of(path):
    return str(path.relative_to(ROOT))


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def depth(node, level=0):
    inner = [depth(child, level + isinstance(child, BLOCKS)) for child in ast.iter_child_nodes(node)]
    return max(inner, default=level)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_keeps_to_its_size(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    for function in functions(path):
        assert function.end_lineno - function.lineno < LONGEST_FUNCTION, function.name
        assert depth(function) <= DEEPEST + 1, function.name


LIBRARIES = (
    "aiohttp anyio click cryptography.hazmat.primitives.ciphers.aead hypercorn.asyncio msgspec PIL.Image "
    "prometheus_client redis.asyncio rich.console starlette.applications structlog"
)
"""What most modules import: it is imported once, before the forks that import one module of ours each."""


def test_every_module_imports_alone():
    names = [name_of(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in SOURCES]
    names.remove("service.__main__")
    script = (
        "import importlib, multiprocessing as m, sys\n"
        "def one(name):\n"
        "    try: importlib.import_module(name); return None\n"
        "    except Exception as error: return f'{name}: {error!r}'\n"
        "if __name__ == '__main__':\n"
        f"    for library in {LIBRARIES.split()!r}: importlib.import_module(library)\n"
        "    ours = [name for name in sys.modules if name.split('.')[0] in {'service', 'protocol', 'transports'}]\n"
        "    assert not ours, ours\n"
        "    with m.get_context('fork').Pool(2, maxtasksperchild=1) as pool:\n"
        "        sys.exit('\\n'.join(filter(None, pool.map(one, sys.argv[1:], chunksize=1))) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *names], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_a_test_file_stands_where_its_subject_does(path):
    subject = path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))
    package = (ROOT / subject).parent
    machines = {"test_machine.py", "test_races.py", "test_rotate_machine.py"}
    free = {
        "test_stores.py",
        "test_docs.py",
        "test_commands.py",
        "test_known_clients.py",
        "test_refusals.py",
        "test_rewrites.py",
        *machines,
    }
    assert package.is_dir()
    assert (ROOT / subject).exists() or path.name in free


def test_every_room_is_tested_where_it_stands():
    tested = {path.parent for path in TESTS}
    packages = {path.parent for path in SOURCES if path.name != "__init__.py"}
    missing = {name_of(package) for package in packages if ROOT / "tests" / package.relative_to(ROOT) not in tested}
    assert missing == set()


def test_the_two_package_faces_stay_empty():
    assert (ROOT / "protocol" / "__init__.py").read_text() == ""
    assert (ROOT / "transports" / "__init__.py").read_text() == ""


def test_only_two_modules_know_the_server():
    knowing = [
        name_of(path)
        for path in SOURCES
        if re.search(r"^\s*(?:import|from) hypercorn\b", path.read_text(), re.MULTILINE)
    ]
    assert knowing == ["service/server/connection.py", "service/server/hypercorn.py"]
