"""Wire structs of the videos API, with OpenAI's names."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.http.lenient import LenientDecoder
from protocol.http.picture_parameters import PictureFields

Text = Annotated[str, Meta(min_length=1)]
"""A text that is unset if it is empty."""
Size = Literal["720x1280", "1280x720", "1024x1792", "1792x1024"]
Status = Literal["queued", "in_progress", "completed", "failed"]


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame, by its URL or the id of an uploaded file; in a form it is a file."""

    image_url: Text | None = None
    file_id: Text | None = None


class VideoRequest(PictureFields, frozen=True, kw_only=True):
    """The body of `POST /videos`."""

    prompt: Annotated[str, Meta(min_length=1)]
    model: Text | None = None
    seconds: Literal[4, 8, 12] | None = None
    size: Size | None = None
    input_reference: Reference | Text | None = None


class RemixRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /videos/{id}/remix`."""

    prompt: Annotated[str, Meta(min_length=1)]


class VideoError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a video failed."""

    code: str
    message: str


class Video(msgspec.Struct, frozen=True, kw_only=True):
    """A video job."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Status
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    size: str
    seconds: str
    prompt: str
    remixed_from_video_id: str | None = None
    error: VideoError | None


class VideoList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a license's videos."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted video."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool = True


REQUESTS, REMIXES = LenientDecoder(VideoRequest), LenientDecoder(RemixRequest)
