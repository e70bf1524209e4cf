"""Makes videos and music. Source: "Media out", "Capabilities as turns"."""

import uuid

import msgspec

from transports.simulator import rich_content, sample_media
from transports.simulator.answer import SimulatedAnswer
from transports.simulator.media import Clip, clip_url, picture_url
from transports.simulator.turn_context import TurnContext

PENDING = "I'm making your (simulated) video. This could take a few minutes, so check back later.\n\n{link}"
DONE = "Your (simulated) video is ready!\n\n{link}"
LINK = "http://googleusercontent.com/video_gen_chip/0"
REFUSAL = "I can't make that (simulated) video. Please try another prompt."


class VideoWork(msgspec.Struct, frozen=True, kw_only=True):
    """A video that is being made: first it has no URL, then a URL that is not ready, then one that works."""

    thumbnail: str
    url: str
    named: float
    """Time at which the URL appears."""
    ready: float
    """Time at which the URL works."""
    refused: bool
    job: str

    def answer(self, now: float) -> SimulatedAnswer:
        """Return the turn's answer at this time."""
        if self.refused and now >= self.ready:
            return SimulatedAnswer(text=REFUSAL)
        if now < self.ready:
            film = rich_content.video(self.thumbnail, self.url if now >= self.named and not self.refused else "")
            fields = self.pending.rich | {
                rich_content.VIDEO: film,
                rich_content.PROGRESS: rich_content.progress(["Making the video"]),
            }
            return msgspec.structs.replace(self.pending, rich=fields)
        return SimulatedAnswer(
            text=DONE.format(link=LINK), rich={rich_content.VIDEO: rich_content.video(self.thumbnail, self.url)}
        )

    @property
    def pending(self) -> SimulatedAnswer:
        """The answer of the turn that asks for the video; it stays incomplete."""
        fields = {rich_content.VIDEO_PENDING: rich_content.video_pending(LINK, self.job)}
        return SimulatedAnswer(text=PENDING.format(link=LINK), rich=fields, complete=False)


def make_video(context: TurnContext) -> tuple[SimulatedAnswer, VideoWork]:
    """Start a video."""
    script, now = context.script, context.now
    seconds = context.config.video_seconds if script.ready is None else script.ready
    content = sample_media.TALL_VIDEO if context.ask.aspect == 17 else sample_media.WIDE_VIDEO
    clip = Clip(content=content, mime="video/mp4", ready=now + seconds, envelope=script.envelope)
    work = VideoWork(
        thumbnail=picture_url(context.origin, context.draw(1)),
        url=clip_url(context.origin, context.media.add(context.owner, clip), "video.mp4"),
        named=now + seconds / 2,
        ready=now + seconds,
        refused=script.refuse == "video",
        job=str(uuid.uuid4()),
    )
    answer = work.pending if seconds else work.answer(now)
    return msgspec.structs.replace(answer, thoughts=script.thoughts), work


def make_music(context: TurnContext) -> SimulatedAnswer:
    """Return an answer with a song, as audio and as video."""
    thumbnail = picture_url(context.origin, context.draw(1))
    songs = [
        clip_url(context.origin, context.media.add(context.owner, Clip(content=content, mime=mime)), name)
        for content, mime, name in (
            (sample_media.SONG, "audio/mpeg", "music.mp3"),
            (sample_media.SONG_VIDEO, "video/mp4", "music.mp4"),
        )
    ]
    text = context.script.text if context.script.given else "Here is your (simulated) song."
    link = "http://googleusercontent.com/music_generation_content/0"
    return SimulatedAnswer(
        text=f"{text}\n\n{link}",
        thoughts=context.script.thoughts,
        rich={rich_content.MUSIC: rich_content.music(thumbnail, *songs)},
    )
