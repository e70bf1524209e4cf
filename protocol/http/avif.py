"""Converts AVIF pictures of requests, which the site does not take, in a process of their own."""

import math
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from protocol.http.context import RequestContext
from protocol.http.picture import seen_size
from protocol.http.spool import ContentWriter, Spool
from protocol.model import BadRequest, Content, Saturated, TooLong

DECODER = Path(__file__).with_name("avif_decoder.py")
_SECONDS = 30
_MOST_BYTES = 64 * 1024 * 1024
"""A longer result is not accepted."""
_PIECE = 512 * 1024
_PASSED_ON = ("PYTHONPATH", "PATH", "LD_LIBRARY_PATH")
"""The environment of the process: no other variable, since it may hold secrets."""
_RETRY_SECONDS = 5.0


async def without_avif(data: Content, param: str, context: RequestContext) -> Content:
    """Return an AVIF picture as JPEG, or as PNG if it has transparency, turned upright; `param` is its path.

    Raises:
        BadRequest: the picture cannot be decoded (`invalid_image`).
        Saturated: the memory budget or the disk is full, or no process can be started.

    """
    pixels = math.prod(await seen_size(data, context) or (0, 0))
    work, owner = partial(_convert, data, pixels, context.spool), context.reserved().owner
    try:
        return await context.pixels.run(work, 2 * pixels, context.memory, owner)  # the decoder keeps two copies
    except (subprocess.SubprocessError, TooLong):
        message = f"The AVIF image at '{param}' cannot be decoded: send it as PNG, JPEG or WebP."
        raise BadRequest(message, param=param, code="invalid_image") from None


def _convert(data: Content, pixels: int, spool: Spool) -> Content:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    command = [sys.executable, "-P", DECODER, str(pixels), str(_MOST_BYTES)]  # -P: no imports from the current folder
    content = data if isinstance(data, bytes) else data.whole()
    try:
        with tempfile.TemporaryFile(dir=spool.folder) as out:
            subprocess.run(  # noqa: S603 -- the command has no text of a request
                command,
                input=content,
                stdout=out,
                stderr=subprocess.DEVNULL,
                env=environment,
                timeout=_SECONDS,
                check=True,
            )
            out.seek(0)
            writer = ContentWriter(spool, _MOST_BYTES)
            while piece := out.read(_PIECE):
                writer.write(piece)
            return writer.finish()
    except OSError:
        raise Saturated("The gateway cannot start a process for an AVIF picture.", retry_after=_RETRY_SECONDS) from None
