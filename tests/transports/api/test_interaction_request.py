"""Bodies that begin interactions, judged by the strict reader of the simulated API."""

import pytest

from protocol.model import (
    Caller,
    Capability,
    FilePart,
    GenerationRequest,
    MediaKind,
    MediaPart,
    MediaRef,
    Model,
    Role,
    Selection,
    TextPart,
    Turn,
    Unsupported,
    VideoOptions,
)
from transports.api.interaction_request import film_to_edit, first_interaction
from transports.api.interaction_wire import encode_interaction
from transports.generate_content.wire import Blob, ContentPart, FileData
from transports.simulator.api import api_models
from transports.simulator.api.interaction_check import check_background, check_for_model, read_request

OLD, NEW = "gemini-omni-1.1-flash", "gemini-omni-1.2-flash"
FILM = MediaRef(transport="api", account="paid", kind=MediaKind.VIDEO, url="files/abc#v1_x")
PICTURE = FilePart(data=b"\x89PNG", mime="image/png", name="a.png")
SENT_PICTURE = ContentPart(inline_data=Blob("image/png", b"\x89PNG"))
SENT_FILM = ContentPart(file_data=FileData("https://example.com/v1beta/files/x", "video/mp4"))


def user(*parts):
    return Turn(role=Role.USER, parts=tuple(TextPart(text=part) if isinstance(part, str) else part for part in parts))


def asked(*turns, capability=Capability.VIDEO, **fields):
    selection = Selection(model=Model(id="m", family="pro"), capability=capability)
    return GenerationRequest(id="r", caller=Caller(id="l"), selection=selection, turns=turns, **fields)


def read(request, files=None, edited=None, model=NEW):
    """Return the body of a request as the simulated API has read and checked it."""
    body = read_request(encode_interaction(first_interaction(request, model, files or {}, edited)))
    check_background(body)
    if body.model:
        check_for_model(body, api_models.find(body.model, "interactions"))
    return body


def task_of(body):
    return body.generation_config.video_config.task


@pytest.mark.parametrize(("count", "task"), [(0, "text_to_video"), (1, "image_to_video"), (3, "reference_to_video")])
def test_the_pictures_say_what_is_made(count, task):
    pictures = [FilePart(data=bytes([n]), mime="image/png", name="p") for n in range(count)]
    files = {id(part): ContentPart(inline_data=Blob("image/png", part.data)) for part in pictures}
    assert task_of(read(asked(user("a cat", *pictures)), files)) == task


def test_media_of_an_answer_stand_in_the_next_message():
    answer = Turn(role=Role.ASSISTANT, parts=(TextPart(text=""), PICTURE))
    body = read(asked(user("a cat"), answer, user("now move")), {id(PICTURE): SENT_PICTURE})
    assert [(step.__struct_config__.tag, len(step.content)) for step in body.input] == [
        ("user_input", 1),
        ("user_input", 2),
    ]


def test_the_film_of_an_answer_is_edited_by_its_interaction_or_as_a_file():
    request = asked(user("a cat"), Turn(role=Role.ASSISTANT, parts=(MediaPart(ref=FILM),)), user("slower"))
    film = film_to_edit(request)
    by_interaction = read(asked(*film.turns), edited=film)
    assert (task_of(by_interaction), by_interaction.previous_interaction_id) == ("edit", "v1_x")
    (turn,) = film.within()
    by_file = read(asked(turn), {id(turn.parts[0]): SENT_FILM})
    assert (task_of(by_file), by_file.previous_interaction_id) == ("edit", "")
    assert [content.__struct_config__.tag for content in by_file.input] == ["video", "text"]


def test_the_film_that_a_request_names_is_edited():
    film = film_to_edit(asked(user("a long story"), video=VideoOptions(edits=FILM, change="slower")))
    assert (film.ref, film.turns[0].text) == (FILM, "slower")


def test_nothing_is_edited_without_a_film_or_a_wish():
    answer = Turn(role=Role.ASSISTANT, parts=(MediaPart(ref=FILM),))
    assert film_to_edit(asked(user("a cat"))) is None
    assert film_to_edit(asked(user("a cat"), answer)) is None
    assert film_to_edit(asked(user("a cat"), answer, user("why?"), capability=Capability.DEEPSEARCH)) is None


@pytest.mark.parametrize(
    ("pixels", "resolution"),
    [(640 * 360, "360p"), (720 * 1280, "720p"), (1024 * 1792, "1080p"), (3840 * 2160, "4k")],
)
def test_pixels_are_a_resolution(pixels, resolution):
    assert read(asked(user("a cat"), pixels=pixels)).film.resolution == resolution


def test_a_length_that_the_model_lacks_is_refused_by_name():
    request = asked(user("a cat"), video=VideoOptions(seconds=12))
    assert read(request).film.duration == "12s"
    with pytest.raises(Unsupported, match="3 to 10 seconds") as refused:
        read(request, model=OLD)
    assert refused.value.param == "seconds"


def test_research_takes_files():
    body = read(asked(user("what?", PICTURE), capability=Capability.DEEPSEARCH), {id(PICTURE): SENT_PICTURE})
    assert (body.agent, body.agent_config.collaborative_planning) == (NEW, True)
