"""Judge bodies of the official API by Google's own packages; runs in an environment that has them.

Reads a JSON list of `[type, body]` from stdin and writes a list of problems, null for a valid body. `request` and
`response` are parsed strictly by the published protos, and by the types of `google-genai`, which knows newer fields;
the other types by the protos alone.
What only the newer types know is removed before the protos judge (`NEWER`).
"""

import copy
import json
import sys

import google.ai.generativelanguage_v1beta as protos
from google.genai import types
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2  # the details of errors are of these types

NEWER = {
    *("imageSize", "thinkingLevel", "mediaResolution", "includeServerSideToolInvocations", "speechMetadata"),
    "audioTranscriptionConfig",
    "voice",
}
"""Fields that the published protos do not have yet."""
REQUEST_PARTS = {
    "contents": [types.Content],
    "systemInstruction": types.Content,
    "tools": [types.Tool],
    "toolConfig": types.ToolConfig,
    "safetySettings": [types.SafetySetting],
    "generationConfig": types.GenerationConfig,
}


OTHERS = {
    "error": status_pb2.Status,
    "models": protos.ListModelsResponse.pb(),
    "model": protos.Model.pb(),
    "embeddings": protos.BatchEmbedContentsRequest.pb(),
    "cached": protos.CachedContent.pb(),
    "caches": protos.ListCachedContentsResponse.pb(),
    "count": protos.CountTokensResponse.pb(),
}
assert error_details_pb2.RetryInfo


def without_newer(value):
    if isinstance(value, list):
        return [without_newer(one) for one in value]
    if not isinstance(value, dict):
        return value
    own = {"args", "response", "parametersJsonSchema", "responseJsonSchema"}
    return {
        name: one if name in own and "parts" not in name else without_newer(one)
        for name, one in value.items()
        if name not in NEWER
    }


def known(field, value):
    """Check a part of a request by the types of google-genai, which forbid unknown fields."""
    kind = REQUEST_PARTS[field]
    if field == "generationConfig":  # the package has the options of pictures in a type of their own
        value = dict(value)
        types.ImageConfig.model_validate(value.pop("imageConfig", {}), by_alias=True)
    for one in value if isinstance(kind, list) else [value]:
        (kind[0] if isinstance(kind, list) else kind).model_validate(one, by_alias=True)


def judge(kind, body):
    if kind == "request":
        for field in REQUEST_PARTS.keys() & body.keys():
            known(field, body[field])
        message = protos.GenerateContentRequest.pb()()
    elif kind in OTHERS:
        message = OTHERS[kind]()
    else:
        types.GenerateContentResponse.model_validate(copy.deepcopy(body), by_alias=True)
        message = protos.GenerateContentResponse.pb()()
    json_format.ParseDict(without_newer(body), message, ignore_unknown_fields=False)
    type(message).FromString(message.SerializeToString())  # bytes have a smaller limit of depth than JSON


problems = []
for kind, body in json.load(sys.stdin):
    try:
        judge(kind, body)
        problems.append(None)
    except Exception as error:  # noqa: BLE001 -- reported
        problems.append(f"{type(error).__name__}: {error}"[:2000])
json.dump(problems, sys.stdout)
