"""Defines what the usage ledger keeps of one finished request, and makes it of a request or a job."""

from collections.abc import Sequence

import msgspec

from protocol.http.context import RequestContext
from protocol.model import Capability, Job, MediaKind

REQUEST_ID = "req_"
"""The beginning of the ids of requests. Other ids are of jobs, which two processes may both finish."""


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The usage of one finished request or job; it never has a part of the prompt or the answer."""

    id: str
    finished: float
    """Epoch seconds, to the millisecond."""
    license: str
    user: str = ""
    model: str = ""
    """The requested model's id of the catalogue; empty: no model was found."""
    answered: str = ""
    """The model that answered, as the upstream reports it."""
    capability: str = ""
    transport: str = ""
    account: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    """Including thoughts."""
    reasoning_tokens: int = 0
    images: int = 0
    videos: int = 0
    research: int = 0
    status: int = 200
    first_token: float | None = None
    """Seconds from the request's arrival."""
    duration: float = 0.0
    error: str = ""
    """The public code of the error; empty: there was none."""

    @property
    def failed(self) -> int:
        """1 if the request ended with an error, else 0."""
        return int(self.status >= 400 or self.error != "")


LINE = msgspec.json.Encoder()
_LINE = msgspec.json.Decoder(UsageRecord)


def decode_lines(data: bytes) -> tuple[list[UsageRecord], int]:
    """Return the records of journal lines, and the number of lines that are damaged."""
    found: list[UsageRecord] = []
    lines = data.splitlines()
    for line in lines:
        try:
            found.append(_LINE.decode(line))
        except msgspec.MsgspecError:  # a write that the machine's crash cut short
            continue
    return found, len(lines) - len(found)


def record_of_request(context: RequestContext, status: int, finished: float) -> UsageRecord | None:
    """Return the usage of a request that is about to end; None: it is not counted."""
    record, caller = context.record, context.caller
    if not record.metered or caller is None:
        return None
    research = record.capability == Capability.DEEPSEARCH.value and status < 400 and record.error is None
    return UsageRecord(
        id=context.id,
        finished=round(finished, 3),
        license=caller.id,
        user=record.user or "",
        model=record.model or "",
        answered=record.upstream_model or "",
        capability=record.capability or "",
        transport=record.transport or "",
        account=record.account or "",
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        reasoning_tokens=record.reasoning_tokens,
        images=record.images,
        videos=record.videos,
        research=record.research or int(research),
        status=status,
        first_token=record.first_token,
        duration=round(context.now() - context.started, 3),
        error=record.error or "",
    )


def record_of_job(job: Job, finished: float) -> UsageRecord:
    """Return the usage of a job that has ended."""
    selection, handle, reply = job.request.selection, job.handle, job.reply
    kinds: Sequence[MediaKind] = [media.ref.kind for media in reply.media] if reply is not None else ()
    usage = reply.usage if reply is not None else None
    return UsageRecord(
        id=job.id,
        finished=round(finished, 3),
        license=job.request.caller.id,
        model=selection.id,
        answered=job.upstream_model,
        capability=selection.capability.value,
        transport=handle.transport if handle is not None else "",
        account=handle.account if handle is not None else "",
        input_tokens=usage.input_tokens if usage is not None else 0,
        output_tokens=usage.output_tokens if usage is not None else 0,
        reasoning_tokens=usage.reasoning_tokens if usage is not None else 0,
        images=kinds.count(MediaKind.IMAGE),
        videos=kinds.count(MediaKind.VIDEO),
        research=int(selection.capability is Capability.DEEPSEARCH and reply is not None),
        status=200 if job.error is None else 500,
        duration=round(finished - job.created, 3),
        error=job.error.code if job.error is not None else "",
    )
