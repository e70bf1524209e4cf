import pytest

from protocol.anthropic.client_tools import client_tool
from protocol.structured.json_schema import compiled

PATH = {"path": "/a"}


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("bash_20250124", {"command": "ls"}),
        ("bash_20241022", {"restart": True}),
        ("text_editor_20250728", {"command": "view", "view_range": [1, -1], **PATH}),
        ("text_editor_20250124", {"command": "create", "file_text": "", **PATH}),
        ("memory_20250818", {"command": "insert", "insert_line": 0, "insert_text": "x", **PATH}),
        ("memory_20250818", {"command": "delete", **PATH}),
        ("memory_20250818", {"command": "rename", "old_path": "/a", "new_path": "/b"}),
    ],
)
def test_each_command_fits_the_form_of_its_tool(kind, given):
    tool = client_tool(kind, "name")
    assert (tool.name, compiled(tool.parameters).problem(given)) == ("name", "")


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("bash_20250124", {"command": 5}),
        ("text_editor_20250728", {"command": "delete", **PATH}),
        ("text_editor_20250728", {"command": "create", **PATH}),
        ("memory_20250818", {}),
    ],
)
def test_a_command_without_its_fields_does_not_fit(kind, given):
    assert compiled(client_tool(kind, "name").parameters).problem(given)


@pytest.mark.parametrize("kind", ["computer_20250124", "code_execution_20250825", "mcp_toolset"])
def test_other_tools_are_not_known(kind):
    assert client_tool(kind, "name") is None
