"""`python -m tests.rollout [REQUESTS]`: the rollout at full length."""

import sys
import tempfile

import anyio

from tests.rollout.trial import trial


def main():
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        seen = anyio.run(trial, folder, requests, lambda words: print(words, flush=True))
    print(f"{seen.requests} requests, {len(seen.failures)} failed; {len(seen.restarts)} restarts {set(seen.restarts)}")
    print(f"The video of the gateway that was lost: {seen.video}, by {seen.adopted_by}")
    for failure in seen.failures[:10]:
        print("  failed:", failure)
    well = not seen.failures and set(seen.restarts) == {("503", 0)} and seen.video == "completed" and seen.adopted_by
    sys.exit(not well)


if __name__ == "__main__":
    main()
