"""`gemini-gateway`, with the rotation's times divided: `python -m tests.chaos.gateway DIVISOR serve …`.

Everything else is as shipped, and the ratios between the times stay the same. Once a second it
writes how many tasks the event loop has.
"""

import asyncio
import sys

from service.cli import main as cli
from service.server.garbage_collection import GarbageCollector
from transports.web.session import rotation, rotation_lock

TIMES = (
    "LOCK_SECONDS", "MARGIN_SECONDS", "CALL_SECONDS", "GAP_SECONDS",
    "_MIN_GAP_SECONDS", "_OTHER_PROCESS_SECONDS", "_POLL_SECONDS",
)  # fmt: skip


def main():
    divisor, shortened = float(sys.argv.pop(1)), set()
    for module in (rotation_lock, rotation):
        for name in TIMES:
            value = getattr(module, name, None)
            if value is not None:
                shorter = tuple(part / divisor for part in value) if isinstance(value, tuple) else value / divisor
                setattr(module, name, shorter)
                shortened.add(name)
    assert shortened == set(TIMES), "the rotation's times have other names"
    look = GarbageCollector.collect_if_idle

    def counted(collector):
        look(collector)
        print(f"tasks: {len(asyncio.all_tasks())}", file=sys.stderr, flush=True)

    GarbageCollector.collect_if_idle = counted
    cli.main()


if __name__ == "__main__":
    main()
