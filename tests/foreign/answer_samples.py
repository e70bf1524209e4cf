"""Builds answers of the official API from Google's own types, and prints them as JSON, with what the SDK reads of them.

It runs in a venv of its own. Each answer is a list of chunks; a chunk is printed as `google-genai` writes it, and as
the published protos do.
"""

import json
import sys

import google.ai.generativelanguage_v1beta as protos
from google.genai import types
from google.protobuf import json_format

USAGE = types.GenerateContentResponseUsageMetadata(
    prompt_token_count=7, candidates_token_count=5, thoughts_token_count=3, total_token_count=15
)


def chunk(*parts, reason=None, usage=None, **fields):
    content = types.Content(role="model", parts=list(parts)) if parts else None
    candidate = types.Candidate(content=content, index=0, finish_reason=reason, **fields)
    return types.GenerateContentResponse(candidates=[candidate], usage_metadata=usage, model_version="gemini-3.6-flash")


def text(said, **fields):
    return types.Part(text=said, **fields)


CALL = types.FunctionCall(id="c1", name="get_sky", args={"place": "Zürich 😀", "days": [1, 2.5, None, True], "at": {}})
SOURCES = types.GroundingMetadata(
    grounding_chunks=[types.GroundingChunk(web=types.GroundingChunkWeb(uri="https://example.com/a", title="A, b"))],
    grounding_supports=[
        types.GroundingSupport(
            segment=types.Segment(start_index=0, end_index=7, text="Grüße"), grounding_chunk_indices=[0]
        )
    ],
)
"""The packages write bytes in two alphabets of base64; the API uses one, so those here need no others."""
PNG = types.Blob(mime_type="image/png", data=b"\x89PNG\r\n\x1a\n" + b"picture" * 99)
ANSWERS = {
    "text": [chunk(text("Grüße 你好 ")), chunk(text("😀\r\nline\u2028two")), chunk(reason="STOP", usage=USAGE)],
    "thoughts": [chunk(text("Hm.", thought=True)), chunk(text("Yes"), usage=USAGE), chunk(text("."), reason="STOP")],
    "calls": [
        chunk(text("I look."), types.Part(function_call=CALL, thought_signature=b"signed\x00\xff")),
        chunk(types.Part(function_call=types.FunctionCall(name="again", args={})), reason="STOP", usage=USAGE),
    ],
    "code": [
        chunk(types.Part(executable_code=types.ExecutableCode(code="print(1)\n", language="PYTHON"))),
        chunk(types.Part(code_execution_result=types.CodeExecutionResult(outcome="OUTCOME_OK", output="1\n"))),
        chunk(text("1"), reason="STOP", usage=USAGE),
    ],
    "sources": [chunk(text("Grüße")), chunk(text("."), reason="STOP", grounding_metadata=SOURCES, usage=USAGE)],
    "picture": [chunk(types.Part(inline_data=PNG)), chunk(text(""), reason="MAX_TOKENS", usage=USAGE)],
    "several usages": [chunk(text("a"), usage=USAGE), chunk(), chunk(text("b"), usage=USAGE), chunk(reason="STOP")],
}


def as_proto(body):
    """Return a chunk as the protos write it: with defaults, in several lines."""
    message = json_format.ParseDict(json.loads(body), protos.GenerateContentResponse.pb()(), ignore_unknown_fields=True)
    return json_format.MessageToJson(message, always_print_fields_with_no_presence=True)


found = {}
for name, chunks in ANSWERS.items():
    bodies = [one.model_dump_json(by_alias=True, exclude_none=True) for one in chunks]
    parts = [part for one in chunks for part in one.parts or ()]
    found[name] = {
        "sdk": bodies,
        "protos": list(map(as_proto, bodies)),
        "text": "".join(part.text or "" for part in parts if not part.thought),
        "calls": [[part.function_call.name, part.function_call.args] for part in parts if part.function_call],
    }
json.dump(found, sys.stdout)
