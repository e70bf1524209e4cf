"""Blocks of earlier answers that are taken, and not sent to the model: thoughts, and what servers of Anthropic's did.

A conversation that Anthropic's own models began can so be continued here.
"""

import msgspec


class ThinkingBlock(msgspec.Struct, frozen=True, tag="thinking"):
    """Thoughts."""


class RedactedThinkingBlock(msgspec.Struct, frozen=True, tag="redacted_thinking"):
    """Thoughts, encrypted."""


class ServerToolUseBlock(msgspec.Struct, frozen=True, tag="server_tool_use"):
    """A call that the server makes itself."""


class SearchResultsBlock(msgspec.Struct, frozen=True, tag="web_search_tool_result"):
    """What a search found."""


class FetchResultBlock(msgspec.Struct, frozen=True, tag="web_fetch_tool_result"):
    """What was fetched."""


class CodeResultBlock(msgspec.Struct, frozen=True, tag="code_execution_tool_result"):
    """What a program wrote."""


class ShellResultBlock(msgspec.Struct, frozen=True, tag="bash_code_execution_tool_result"):
    """What a command wrote."""


class EditResultBlock(msgspec.Struct, frozen=True, tag="text_editor_code_execution_tool_result"):
    """What became of a file."""


class ToolSearchResultBlock(msgspec.Struct, frozen=True, tag="tool_search_tool_result"):
    """Which tools a search found."""


class AdvisorResultBlock(msgspec.Struct, frozen=True, tag="advisor_tool_result"):
    """What another model advised."""


class McpToolUseBlock(msgspec.Struct, frozen=True, tag="mcp_tool_use"):
    """A call of a tool on an MCP server."""


class McpToolResultBlock(msgspec.Struct, frozen=True, tag="mcp_tool_result"):
    """What that tool returned."""


class McpToolListingBlock(msgspec.Struct, frozen=True, tag="mcp_tool_listing"):
    """The tools of an MCP server."""


class FallbackBlock(msgspec.Struct, frozen=True, tag="fallback"):
    """Where another model took over."""


class ToolReferenceBlock(msgspec.Struct, frozen=True, tag="tool_reference"):
    """The name of a tool that a search for tools found; all tools are known to the model anyway."""

    tool_name: str = ""


UnsentBlock = (
    ThinkingBlock
    | RedactedThinkingBlock
    | ServerToolUseBlock
    | SearchResultsBlock
    | FetchResultBlock
    | CodeResultBlock
    | ShellResultBlock
    | EditResultBlock
    | ToolSearchResultBlock
    | AdvisorResultBlock
    | McpToolUseBlock
    | McpToolResultBlock
    | McpToolListingBlock
    | FallbackBlock
    | ToolReferenceBlock
)
