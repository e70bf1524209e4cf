"""Measures the gateway against a bare pass-through of its own stack, and prints the report."""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.bench import report
from tests.bench.measure import Bench, Long, Plan, Quick
from tests.bench.processes import BenchError

_LONGEST_SECONDS = 400.0
"""On a quiet machine it takes a third of that."""


async def _run(bench):
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            await bench.run()
    except TimeoutError:
        raise BenchError(f"it took longer than {_LONGEST_SECONDS:.0f} seconds") from None


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds of it, to see that it works")
    parser.add_argument("--long", action="store_true", help="with an answer of 1 MB in 10,000 frames, 5 GB in all")
    asked = parser.parse_args()
    plan = Quick if asked.quick else Long if asked.long else Plan
    with tempfile.TemporaryDirectory(prefix="gemini-gateway-bench-") as folder:
        bench = Bench(plan, Path(folder))
        try:
            uvloop.run(_run(bench))
        except BenchError as error:
            sys.exit(f"bench: {error}")
        except asyncio.CancelledError:
            sys.exit("bench: stopped")
    print(report.text(bench))


if __name__ == "__main__":
    main()
