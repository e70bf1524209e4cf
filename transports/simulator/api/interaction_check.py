"""Reads the body that begins an interaction, and checks it as strictly as the API does.

Source: "Interactions", "Video".
"""

import re

import msgspec

from transports.simulator.api import interaction_schema as schema
from transports.simulator.api.api_models import SimulatedModel
from transports.simulator.api.rpc_errors import ApiRefusal, invalid

REVISION = "2026-05-20"
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`(?: - at `\$\.?([^`]*)`)?")
_LONGEST_FILM = {"gemini-omni-1.1-flash": 10, "gemini-omni-1.2-flash": 15}
_SHORTEST_FILM = 3

_decode = msgspec.json.Decoder(schema.InteractionRequest).decode


def read_request(body: bytes) -> schema.InteractionRequest:
    """Decode a body.

    Raises:
        ApiRefusal: it is not JSON, or has an unknown field or a wrong value.

    """
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        unknown = _UNKNOWN.match(str(error))
        if unknown is None:
            raise invalid(f"Invalid value: {error}") from None
        place = f"{unknown[2]}." if unknown[2] else ""
        raise invalid(f"Unknown parameter '{place}{unknown[1]}'.") from None
    except msgspec.DecodeError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None


def check_revision(sent: str | None) -> None:
    """Check the header `Api-Revision`; raise ApiRefusal if it is another one. Google's SDK sends none."""
    if sent not in {None, REVISION}:
        raise invalid(f"Unsupported Api-Revision: use {REVISION}.")


def check_background(request: schema.InteractionRequest) -> None:
    """Check what a request says about its model or agent, and about work in the background."""
    if bool(request.model) == bool(request.agent):
        raise invalid("Exactly one of 'model' and 'agent' must be set.")
    if request.background and not request.store:
        raise invalid("'background' requires 'store' to be true.")
    if not request.input:
        raise invalid("'input' must not be empty.")
    items = request.input if isinstance(request.input, list) else []
    if len({isinstance(item, schema.CONTENT) for item in items}) > 1:
        raise invalid("'input' has either contents or steps, not both.")
    if request.agent and not request.background:
        raise invalid("Agent interactions must be run in the background: set 'background' to true.")
    if request.agent and request.generation_config != schema.InteractionOptions():
        raise invalid("'generation_config' is not supported for agents: use 'agent_config'.")
    if request.model and request.agent_config is not None:
        raise invalid("'agent_config' is supported for agents only.")


def check_for_model(request: schema.InteractionRequest, model: SimulatedModel) -> None:
    """Check a request against what its model can make."""
    makes_films = model.kind == "interaction"
    wants_film = "video" in request.response_modalities or any(
        isinstance(form, schema.FilmForm) for form in request.forms
    )
    if wants_film and not makes_films:
        raise invalid(f"Model {model.id} does not support the response format 'video'.")
    if makes_films:
        check_film(request, model)
    elif model.kind != "text":
        raise ApiRefusal(400, f"The simulator has no interactions with {model.id}.")
    if request.generation_config.thinking_level == "minimal" and model.pro:
        raise invalid("Thinking level minimal is not supported for this model.")


def film_order(request: schema.InteractionRequest) -> str:
    """Return what is ordered, for the counts of the simulator."""
    task = (request.generation_config.video_config or schema.FilmOptions()).task or "unnamed"
    shape = [request.film.aspect_ratio, request.film.resolution, request.film.duration]
    return " ".join([task, *(word for word in shape if word), *(["again"] if request.previous_interaction_id else [])])


def check_film(request: schema.InteractionRequest, model: SimulatedModel) -> None:
    """Check the order of a film."""
    duration, most = request.film.duration, _LONGEST_FILM[model.id]
    if duration is not None and not _SHORTEST_FILM <= int(duration[:-1]) <= most:
        raise invalid(f"'duration' must be from {_SHORTEST_FILM}s to {most}s for {model.id}.")
    options = request.generation_config.video_config or schema.FilmOptions()
    content = [one for step in request.steps if isinstance(step, schema.UserStep) for one in step.content]
    has_film = bool(request.previous_interaction_id) or any(isinstance(one, schema.VideoInput) for one in content)
    if options.task in {"image_to_video", "reference_to_video"} and not any(
        isinstance(one, schema.ImageInput) for one in content
    ):
        raise invalid(f"The task {options.task} needs an image in 'input'.")
    if options.task in {"edit", "extend", "upscale"} and not has_film:
        raise invalid(f"The task {options.task} needs a video, or 'previous_interaction_id'.")
