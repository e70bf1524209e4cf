"""The endpoints `GET /models` and `GET /models/{id}`, in Google's form."""

from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.http.body import encode_json
from protocol.http.context import caller_of, context_of
from protocol.http.errors import ASGIResponse
from protocol.http.own_models import may_be_listed
from protocol.model import BadRequest, Capability, Engine, Selection

_MOST = 1000
"""The most models of one page, and the number without `pageSize`."""
_INPUT_TOKENS, _OUTPUT_TOKENS = 70_000, 65_536
"""What the website reads, by estimate, and what it may write."""
_METHODS = ("generateContent", "countTokens")
_METHODS_OF = {Capability.EMBEDDING: ("embedContent", "batchEmbedContents", "countTokens")}


class GeminiModel(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A model in Google's form."""

    name: str
    base_model_id: str
    version: str
    display_name: str
    description: str
    input_token_limit: int = _INPUT_TOKENS
    output_token_limit: int = _OUTPUT_TOKENS
    supported_generation_methods: tuple[str, ...] = _METHODS


class GeminiModelPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A page of the models that a license may use."""

    models: list[GeminiModel]
    next_page_token: str = ""


class GeminiModels:
    """Endpoints that list the models of an engine."""

    def __init__(self, engine: Engine) -> None:
        """Serve the models of `engine`."""
        self._engine = engine

    async def list(self, request: Request) -> ASGIResponse:
        """Return a page of the models that the caller may use.

        Raises:
            BadRequest: `pageSize` or `pageToken` is invalid.

        """
        context = context_of(request.scope)
        query = dict(parse_qsl(context.query.decode("latin-1")))
        size = min(_number(query, "pageSize", _MOST) or _MOST, _MOST)
        start = _number(query, "pageToken", 0)
        caller = caller_of(context)
        catalogue = self._engine.catalogue.with_aliases(caller.aliases)
        found = [one for one in catalogue.listed() if may_be_listed(self._engine, one) and caller.may_use(one)]
        page = [_model(one) for one in found[start : start + size]]
        more = str(start + size) if start + size < len(found) else ""
        body = encode_json(GeminiModelPage(models=page, next_page_token=more))
        return Response(body, media_type="application/json")

    async def retrieve(self, request: Request) -> ASGIResponse:
        """Return one model.

        Raises:
            ModelUnknown: the model does not exist.
            Forbidden: the license does not cover the model.

        """
        caller = caller_of(context_of(request.scope))
        selection = self._engine.catalogue.with_aliases(caller.aliases).resolve(request.path_params["model"])
        caller.permit(selection)
        return Response(encode_json(_model(selection)), media_type="application/json")


def _number(query: dict[str, str], name: str, default: int) -> int:
    value = query.get(name, "") or str(default)
    if not value.isdecimal() or len(value) > len(str(_MOST)) * 2:
        raise BadRequest(f"'{name}' must be a number that a page of this list returned, or be left out.", param=name)
    return int(value)


def _model(selection: Selection) -> GeminiModel:
    extended = ", with extended thinking" if selection.extended else ""
    name = selection.alias or selection.name
    model = selection.model
    return GeminiModel(
        name=f"models/{name}",
        base_model_id=selection.model.id,
        version=selection.id,
        display_name=name,
        description=f"Answers with {selection.capability}{extended}.",
        input_token_limit=model.input_tokens or _INPUT_TOKENS,
        output_token_limit=model.output_tokens or _OUTPUT_TOKENS,
        supported_generation_methods=_METHODS_OF.get(selection.capability, _METHODS),
    )
