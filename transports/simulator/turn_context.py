"""What a turn is answered from: what was asked, by whom, and what there is to answer with."""

import msgspec

from transports.simulator.accounts import SimulatedSession
from transports.simulator.config import SimulatorConfig
from transports.simulator.gems import Gem
from transports.simulator.history import SavedHistoryTurn
from transports.simulator.images import DrawnPicture, aspect_in
from transports.simulator.media import SimulatedMedia
from transports.simulator.request_checks import TurnRequest
from transports.simulator.script import PromptScript
from transports.simulator.uploads import StoredUpload


class TurnContext(msgspec.Struct, frozen=True, kw_only=True):
    """One turn, about to be answered."""

    ask: TurnRequest
    script: PromptScript
    owner: SimulatedSession
    media: SimulatedMedia
    config: SimulatorConfig
    exact: bool
    """Answer in the site's own form."""
    gem: Gem | None = None
    origin: str
    """Where the client reached the site."""
    files: tuple[StoredUpload, ...] = ()
    previous: SavedHistoryTurn | None = None
    now: float
    """In epoch seconds."""

    def draw(self, number: int, words: str = "") -> str:
        """Have a picture drawn of what was asked, or of other words; return its token."""
        picture = DrawnPicture(
            prompt=words or self.script.alt or self.script.asked or self.script.text,
            number=number,
            aspect=aspect_in(self.ask.prompt),
            source=self._source(),
            length=self.script.image_bytes,
            cut=self.script.image_cut,
        )
        return self.media.add(self.owner, picture)

    def _source(self) -> bytes | DrawnPicture | None:
        """Return the picture to edit: the first that was sent along, else the last turn's first."""
        sent = next((file.content.whole() for file in self.files if file.mime.startswith("image/")), None)
        if sent is not None or self.previous is None or not self.previous.answer.pictures:
            return sent
        earlier = self.media.picture(self.previous.answer.pictures[0])
        if earlier is None or not isinstance(earlier.source, DrawnPicture):
            return earlier
        return msgspec.structs.replace(earlier, source=None)  # no deeper
