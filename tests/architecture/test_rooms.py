"""The shape of the code, apart from imports, which `lint-imports` checks."""

import ast
import re
import subprocess
import sys

from tests.architecture.checks import ROOMS, sources
from tests.conftest import ROOT

SOURCES = sources()
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


def test_files_and_functions_are_within_their_size_limits():
    files = {name_of(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in files.items() if lines > LONGEST_FILE} == {}
    defined = [(f"{name_of(path)}: {function.name}", function) for path in SOURCES for function in functions(path)]
    assert [name for name, function in defined if function.end_lineno - function.lineno >= LONGEST_FUNCTION] == []
    assert [name for name, function in defined if depth(function) > DEEPEST + 1] == []


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


SMALL_LINES, SMALL_STATEMENTS = 80, 25
"""A module that is smaller, or does less in its functions, may be tested by the tests of its neighbours."""

CROSS_CUTTING = {
    "transports/accounts/test_machine.py",  # random sequences of operations, compared with a model
    "transports/accounts/test_races.py",
    "transports/simulator/test_commands.py",
    "transports/simulator/test_docs.py",
    "transports/simulator/test_known_clients.py",
    "transports/simulator/test_refusals.py",
    "transports/store/test_stores.py",  # one contract, for each kind of store
    "transports/web/test_rewrites.py",
    "transports/web/test_rotate_machine.py",
}
"""Test files without a module of their path."""

TESTED_ELSEWHERE = {
    "service/accounts/route_view.py",
    "protocol/anthropic/models.py",
    "protocol/anthropic/file_endpoints.py",
    "protocol/gemini/endpoint.py",
    "protocol/gemini/models.py",
    "protocol/http/context.py",
    "protocol/http/conversation.py",
    "protocol/http/errors.py",
    "protocol/http/markdown.py",
    "protocol/http/fallback.py",
    "protocol/model/aliases.py",
    "protocol/model/file_store.py",
    "protocol/model/stored.py",
    "protocol/openai/chat/endpoint.py",
    "protocol/openai/completions/read.py",
    "protocol/openai/completions/write.py",
    "protocol/openai/audio/endpoint.py",
    "protocol/openai/embeddings/endpoint.py",
    "protocol/openai/files/endpoint.py",
    "protocol/openai/images/endpoint.py",
    "protocol/openai/images/write.py",
    "protocol/openai/models.py",
    "protocol/openai/responses/endpoint.py",
    "protocol/openai/responses/items.py",
    "protocol/openai/responses/maker.py",
    "protocol/openai/videos/endpoint.py",
    "protocol/structured/tool_checks.py",
    "service/config/loader.py",
    "transports/api/accounts.py",
    "transports/api/key_uploads.py",  # tests/flows/test_official_api.py
    "transports/api/generated_file.py",
    "transports/api/interaction_run.py",
    "transports/api/interaction_wire.py",
    "transports/api/transport.py",
    "transports/base.py",
    "transports/generate_content/accounts.py",
    "transports/generate_content/api_client.py",
    "transports/generate_content/embedding_call.py",
    "transports/generate_content/kept_media.py",
    "transports/generate_content/model_call.py",
    "transports/generate_content/models.py",
    "transports/generate_content/request_contents.py",  # tests/transports/generate_content/test_request_body.py
    "transports/generate_content/transport.py",
    "transports/observer.py",
    "transports/simulator/api/answer_stream.py",
    "transports/simulator/api/api_files.py",  # tests/foreign/test_google_genai_files.py
    "transports/simulator/api/api_keys.py",
    "transports/simulator/api/api_models.py",
    "transports/simulator/api/generated_files.py",
    "transports/simulator/api/interaction_check.py",
    "transports/simulator/api/interaction_record.py",
    "transports/simulator/api/interaction_schema.py",
    "transports/simulator/api/interaction_stream.py",
    "transports/simulator/api/interaction_work.py",
    "transports/simulator/api/interactions.py",
    "transports/simulator/api/ordered_faults.py",
    "transports/simulator/api/rpc_errors.py",
    "transports/simulator/api/simulated_embeddings.py",
    "transports/simulator/api/simulated_model.py",
    "transports/simulator/api/vertex_routes.py",
    "transports/simulator/service_account_file.py",
    "transports/simulator/tool_use.py",
    "transports/store/memory.py",
    "transports/store/port.py",
    "transports/store/records.py",
    "transports/store/sqlite_queries.py",
    "transports/vertex/accounts.py",
    "transports/web/codec/documents.py",
    "transports/web/long_running/open.py",
    "transports/web/session/cookie_export.py",
    "transports/web/session/cookie_forms.py",
    "transports/web/session/record.py",
}
"""Modules without a test file of their path."""


def test_each_test_file_has_a_module_of_its_path():
    without = {name_of(path).removeprefix("tests/") for path in TESTS if not subject_of(path).exists()}
    assert without <= CROSS_CUTTING


def test_each_module_has_a_test_file_of_its_path():
    tested = {subject_of(path) for path in TESTS}
    assert {name_of(path) for path in SOURCES if weighs(path) and path not in tested} <= TESTED_ELSEWHERE


def subject_of(path):
    return ROOT / path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))


def weighs(path):
    if path.name == "__init__.py" or len(path.read_text().splitlines()) <= SMALL_LINES:
        return False
    statements = [node for function in functions(path) for node in ast.walk(function) if isinstance(node, ast.stmt)]
    return len(statements) >= SMALL_STATEMENTS


def test_the_top_level_packages_stay_empty():
    assert (ROOT / "protocol" / "__init__.py").read_text() == ""
    assert (ROOT / "transports" / "__init__.py").read_text() == ""


def test_only_two_modules_import_the_server():
    knowing = [
        name_of(path)
        for path in SOURCES
        if re.search(r"^\s*(?:import|from) hypercorn\b", path.read_text(), re.MULTILINE)
    ]
    assert knowing == ["service/server/connection.py", "service/server/hypercorn.py"]
