"""The checks of `make check` find what they are for."""

import pytest

from tests.architecture import checks


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write modules of a package `service` that the checks look at."""
    monkeypatch.setattr(checks, "ROOT", tmp_path)
    monkeypatch.setattr(checks, "tracked", lambda *patterns: sorted(tmp_path.glob(patterns[0].replace("/", "/**/"))))

    def write(**modules):
        for name, text in modules.items():
            path = tmp_path / "service" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_a_class_name_may_be_used_once(package):
    package(one="class Lease: ...\nclass Other: ...\n", two="class Lease: ...\n")
    assert checks.repeated_classes() == ["service/one.py:1: class Lease is also in service/two.py:1"]


def test_wire_structs_keep_the_names_of_their_dialect(package):
    package(one__wire="class Usage: ...\n", two__wire="class Usage: ...\n", three="class Usage: ...\n")
    assert checks.repeated_classes() == []


def test_a_file_name_may_repeat_if_the_folder_gives_the_meaning(package):
    package(one__config="", two__config="", one__clock="", two__clock="")
    assert checks.repeated_files() == ["service/one/clock.py:1: file name clock.py is also in service/two/clock.py:1"]


def test_a_banned_phrase_is_found_in_docstrings_comments_and_strings(package):
    package(
        one='"""Serve\nwhoever comes."""\n',
        two="# For as\n# long as it goes on\n# with it\nnobody = 1\n",
        three="x = f'{1} is told of it'\n",
    )
    assert [finding.rpartition(": ")[0] for finding in checks.banned_prose()] == [
        'service/one.py:2: "whoever"',
        'service/three.py:1: "is told"',
        'service/two.py:2: "goes on with"',
    ]


def test_a_banned_phrase_is_found_in_test_names(package, tmp_path):
    name = "test_a_file_is_sent_" + "anew_by_" + "whoever_asks"
    (tmp_path / "tests" / "service").mkdir(parents=True)
    (tmp_path / "tests" / "service" / "test_one.py").write_text(f"\nasync def {name}(): ...\ndef test_other(): ...\n")
    assert [finding.rpartition(" in ")[0] for finding in checks.banned_test_names()] == [
        'tests/service/test_one.py:2: "whoever"',
        'tests/service/test_one.py:2: "anew"',
    ]


def test_code_in_a_page_is_not_prose(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Run `whoever`\nor\n```sh\nwhoever\n```\nwhoever\n")
    (block,) = checks.prose(page)
    assert [block.line(offset) for offset in range(len(block.text)) if block.text.startswith("whoever", offset)] == [6]


def test_a_private_function_that_is_used_once_is_found(package):
    package(one="def _once(): ...\ndef _twice(): ...\ndef main(): _once(); _twice(); _twice()\n")
    assert checks.single_use_helpers() == (["service/one.py:1: _once is used once"], 3)
