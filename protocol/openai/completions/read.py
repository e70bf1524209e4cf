"""Reads the prompts of a text completion."""

from protocol.http.context import RequestContext, caller_of
from protocol.http.ignored import IgnoredFields
from protocol.http.stop import Bounds
from protocol.model import LOGPROBS, BadRequest, GenerationRequest, Role, Selection, TextPart, Turn, Unsupported
from protocol.openai.completions import wire

MOST_TEXTS = 20
"""The highest number of texts in one answer."""
IGNORED = IgnoredFields(
    {
        "frequency_penalty": (0,),
        "logit_bias": (),
        "logprobs": (),
        "presence_penalty": (0,),
        "seed": (),
        "temperature": (1,),
        "top_p": (1,),
    }
)
_INSERT = (
    "Write the text that belongs between a beginning and an end. Answer with that text only, without the beginning, "
    "the end, or a comment.\n\nThe beginning:\n{beginning}\n\nThe end:\n{end}"
)


def prompts_of(body: wire.CompletionRequest) -> list[str]:
    """Return the prompts of a request.

    Raises:
        BadRequest: there is none, one is empty or consists of token ids, or the answer would have too many texts.

    """
    given = [body.prompt] if isinstance(body.prompt, str) else body.prompt or []
    prompts = [prompt for prompt in given if isinstance(prompt, str)]
    if len(prompts) < len(given):
        message = "'prompt' has token ids, which the models of this gateway do not share: send the text."
        raise BadRequest(message, param="prompt", code="unsupported_value")
    if not prompts or not all(prompt.strip() for prompt in prompts):
        raise BadRequest("The prompt is empty: send a text, or a list of texts.", param="prompt")
    if len(prompts) * (body.n or 1) > MOST_TEXTS:
        message = f"The answer would have {len(prompts) * (body.n or 1)} texts; the most is {MOST_TEXTS}."
        raise BadRequest(message, param="prompt" if len(prompts) > MOST_TEXTS else "n")
    return prompts


def ignored_fields(body: wire.CompletionRequest, applied: frozenset[str]) -> list[str]:
    """Return the fields of a request that have no effect; `applied` are the options that have one.

    Raises:
        BadRequest: `best_of` is below `n`.

    """
    best_of, n = body.best_of or body.n or 1, body.n or 1
    if best_of < n:
        raise BadRequest("'best_of' must not be below 'n'.", param="best_of")
    return [*IGNORED.sent(body, applied - LOGPROBS), *(["best_of"] if best_of > n else [])]


def request_of(
    body: wire.CompletionRequest, prompt: str, selection: Selection, context: RequestContext
) -> GenerationRequest:
    """Return the request for one prompt.

    Raises:
        Unsupported: the model works for minutes.

    """
    if selection.capability.long_running:
        message = f"The model '{selection.id}' works for minutes: use it in '/v1/chat/completions'."
        raise Unsupported(message, param="model")
    text = _INSERT.format(beginning=prompt, end=body.suffix) if body.suffix else prompt
    return GenerationRequest(
        id=context.id,
        caller=caller_of(context),
        selection=selection,
        turns=(Turn(role=Role.USER, parts=(TextPart(text=text),)),),
        streamed=bool(body.stream),
        attempts_before=context.attempts_before,
    )


def bounds_of(body: wire.CompletionRequest) -> Bounds:
    """Return the stop sequences and the token limit of each text."""
    stops = (body.stop,) if isinstance(body.stop, str) else body.stop or ()
    return Bounds(stops=tuple(filter(None, stops)), tokens=body.max_tokens)
