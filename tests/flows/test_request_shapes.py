"""Requests in the shapes of Claude Code, Roo Code and Open WebUI, from the prompt to the result of a tool."""

import json

import httpx2 as httpx
import pytest

CALL = '<call name="read_file">{"path": "a.txt"}</call>'
ABOUT = """Reads a file.

## When to use
## Output

```json
{"lines": 1}
```
````
A fence of four.
````"""
RESULT = "first line of a.txt"
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": 'The path, as "a/b.txt" or {"path": …}\n- absolute or not'},
        "limit": {"type": ["integer", "null"], "default": None},
    },
    "additionalProperties": False,
}


@pytest.fixture
def post(gateway):
    """Return a function that sends a request, and returns the JSON of each event of its stream."""

    def send(path, body, **headers):
        url = f"{gateway.origin}/gemini_official{path}"
        answer = httpx.post(url, json=body, headers={"Authorization": f"Bearer {gateway.key}", **headers})
        assert answer.status_code == 200, answer.text
        data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        return [json.loads(line) for line in data if line != "[DONE]"]

    return send


def claude_code(*messages):
    cached = {"cache_control": {"type": "ephemeral"}}
    return {
        "model": "claude-sonnet-4-5-20250929",
        "max_tokens": 32000,
        "stream": True,
        "temperature": 1,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=1a2b3;"},
            {"type": "text", "text": "You are Claude Code.", **cached},
        ],
        "messages": list(messages),
        "tools": [
            {"name": "read_file", "description": ABOUT, "input_schema": {**SCHEMA, "required": ["path"]}},
            {
                "name": "TodoWrite",
                "description": "Plan.",
                "input_schema": {"type": "object", "properties": {}},
                **cached,
            },
        ],
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "metadata": {"user_id": "user_0123_account__session_4567"},
    }


def roo_code_at_anthropic(*messages):
    last = messages[-1]
    *others, block = last["content"]
    cached = {**block, "cache_control": {"type": "ephemeral"}}
    return {
        "model": "claude-sonnet-4-5",
        "max_tokens": 16384,
        "temperature": 1,
        "thinking": {"type": "enabled", "budget_tokens": 8192},
        "system": [{"text": "You are Roo.", "type": "text", "cache_control": {"type": "ephemeral"}}],
        "messages": [*messages[:-1], {**last, "content": [*others, cached]}],
        "stream": True,
        "tools": [{"name": "read_file", "description": ABOUT, "input_schema": {**SCHEMA, "required": ["path"]}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    }


CLAUDE_CODE_HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14",
    "anthropic-dangerous-direct-browser-access": "true",
    "x-app": "cli",
    "x-stainless-lang": "js",
    "user-agent": "claude-cli/2.1.0 (external, cli)",
}
ROO_CODE_HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "fine-grained-tool-streaming-2025-05-14,prompt-caching-2024-07-31",
    "x-stainless-lang": "js",
}


def blocks(events):
    """Put the blocks of a streamed message together; return them and the reason for its end."""
    found = {}
    for event in events:
        if event["type"] == "content_block_start":
            found[event["index"]] = {**event["content_block"], "json": ""}
        elif event["type"] == "content_block_delta":
            block, delta = found[event["index"]], event["delta"]
            for field, part in (("text", "text"), ("thinking", "thinking"), ("signature", "signature")):
                block[field] = block.get(field, "") + delta.get(part, "")
            block["json"] += delta.get("partial_json", "")
    reasons = [event["delta"]["stop_reason"] for event in events if event["type"] == "message_delta"]
    assert events[-1]["type"] == "message_stop"
    return list(found.values()), reasons


@pytest.mark.parametrize(
    ("path", "shape", "headers", "keeps_thoughts"),
    [
        ("/v1/messages?beta=true", claude_code, CLAUDE_CODE_HEADERS, True),
        ("/v1/messages", roo_code_at_anthropic, ROO_CODE_HEADERS, False),
    ],
)
def test_a_client_of_anthropic_reads_a_file(post, path, shape, headers, keeps_thoughts):
    reminder = {"type": "text", "text": "<system-reminder>\nToday is Monday.\n</system-reminder>"}
    asked = {"type": "text", "text": f'<sim thoughts="let me look"/>{CALL}', "cache_control": {"type": "ephemeral"}}
    user = {"role": "user", "content": [reminder, asked]}
    found, reasons = blocks(post(path, shape(user), **headers))
    assert ([block["type"] for block in found], reasons) == (["thinking", "tool_use"], ["tool_use"])
    thought, use = found
    assert (thought["thinking"], use["name"], json.loads(use["json"])) == (
        "let me look",
        "read_file",
        {"path": "a.txt"},
    )
    kept = {"type": "thinking", "thinking": thought["thinking"], "signature": thought["signature"]}
    said = [kept] if keeps_thoughts else []
    called = {"type": "tool_use", "id": use["id"], "name": use["name"], "input": json.loads(use["json"])}
    result = {
        "tool_use_id": use["id"],
        "type": "tool_result",
        "content": [{"type": "text", "text": RESULT}, reminder],
        "cache_control": {"type": "ephemeral"},
    }
    answered = {"role": "user", "content": [result] if keeps_thoughts else [result, reminder]}
    history = [user, {"role": "assistant", "content": [*said, called]}, answered]
    found, reasons = blocks(post(path, shape(*history), **headers))
    assert RESULT in "".join(block.get("text", "") for block in found)
    assert reasons == ["end_turn"]


def deltas(chunks):
    """Put a streamed chat together as Open WebUI does; return content, calls, reason and usage."""
    content, calls, reason, usage = "", {}, None, None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            reason = choice["finish_reason"] or reason
            content += choice["delta"].get("content") or ""
            for part in choice["delta"].get("tool_calls", ()):
                call = calls.setdefault(part["index"], {"id": part.get("id"), "type": "function", "function": {}})
                function = call["function"]
                function["name"] = part["function"].get("name") or function["name"]
                function["arguments"] = function.get("arguments", "") + part["function"].get("arguments", "")
    return content, list(calls.values()), reason, usage


def roo_code(*messages):
    function = {"name": "read_file", "description": "Read.", "strict": True}
    parameters = {**SCHEMA, "required": ["path", "limit"]}
    return {
        "messages": [{"role": "system", "content": "You are Roo."}, *messages],
        "tools": [{"type": "function", "function": {**function, "parameters": parameters}}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "temperature": 0,
    }


def open_webui(*messages):
    others = [
        {"name": f"note_{number}", "description": 'Notes:\n- {"a": "b"}' * 40, "parameters": SCHEMA}
        for number in range(27)
    ]
    functions = [*others, {"name": "read_file", "description": "Read.", "parameters": {**SCHEMA, "required": ["path"]}}]
    return {
        "messages": list(messages),
        "tools": [{"type": "function", "function": function} for function in functions],
        "top_k": 40,
        "min_p": 0.05,
        "mirostat": 1,
        "num_ctx": 8192,
        "keep_alive": "5m",
        "logit_bias": {},
        "reasoning_effort": "medium",
    }


@pytest.mark.parametrize(("shape", "words", "limit"), [(roo_code, None, {"limit": None}), (open_webui, "", {})])
def test_a_client_of_chat_reads_a_file(post, shape, words, limit):
    stream = {"model": "gemini-3-pro", "stream": True, "stream_options": {"include_usage": True}}
    prompt = f'<call name="read_file">{json.dumps({"path": "a.txt", **limit})}</call>'
    user = {"role": "user", "content": [{"type": "text", "text": prompt}]}
    content, calls, reason, usage = deltas(post("/v1/chat/completions", {**shape(user), **stream}))
    assert (content, reason) == ("", "tool_calls")
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"path": "a.txt", **limit}]
    assert usage["total_tokens"] > 0
    result = {"role": "tool", "tool_call_id": calls[0]["id"], "content": RESULT}
    history = [user, {"role": "assistant", "content": words, "tool_calls": calls}, result]
    content, calls, reason, _ = deltas(post("/v1/chat/completions", {**shape(*history), **stream}))
    assert RESULT in content
    assert (calls, reason) == ([], "stop")
