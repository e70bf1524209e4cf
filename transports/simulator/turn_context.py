"""The context in which a turn is answered: the request, its account, uploads, media and settings."""

import msgspec

from transports.simulator.accounts import SimulatedSession
from transports.simulator.config import SimulatorConfig
from transports.simulator.gems import Gem
from transports.simulator.history import SavedHistoryTurn
from transports.simulator.images import DrawnPicture, aspect_in
from transports.simulator.media import SimulatedMedia
from transports.simulator.prompt_directives import PromptScript
from transports.simulator.request_checks import TurnRequest
from transports.simulator.uploads import StoredUpload


class TurnContext(msgspec.Struct, frozen=True, kw_only=True):
    """One turn that is to be answered."""

    ask: TurnRequest
    script: PromptScript
    owner: SimulatedSession
    media: SimulatedMedia
    config: SimulatorConfig
    exact: bool
    """Answer in the site's own form."""
    gem: Gem | None = None
    origin: str
    """The site's URL as the client sees it."""
    files: tuple[StoredUpload, ...] = ()
    previous: SavedHistoryTurn | None = None
    now: float
    """In epoch seconds."""

    def draw(self, number: int, words: str = "") -> str:
        """Draw a picture of the prompt, or of other words, and return its token.

        It shows the picture to edit: the first that was sent along, else the previous turn's first.
        """
        source: bytes | DrawnPicture | None = next(
            (file.content.whole() for file in self.files if file.mime.startswith("image/")), None
        )
        if source is None and self.previous is not None and self.previous.answer.pictures:
            source = self.media.picture(self.previous.answer.pictures[0])
            if source is not None and isinstance(source.source, DrawnPicture):
                source = msgspec.structs.replace(source, source=None)  # the source's own source is not drawn
        picture = DrawnPicture(
            prompt=words or self.script.alt or self.script.description or self.script.text,
            number=number,
            aspect=aspect_in(self.ask.prompt),
            source=source,
            length=self.script.image_bytes,
            cut=self.script.image_cut,
        )
        return self.media.add(self.owner, picture)
