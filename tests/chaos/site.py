"""The simulated site alone, with all of its settings: `python -m tests.chaos.site PORT CONFIG.json`."""

import sys
from pathlib import Path

import msgspec

from service.config.schema import LogSettings
from service.server.hypercorn import listen, run_app
from service.telemetry import logs
from transports import simulator
from transports.clock import SystemClock


def main():
    logs.configure(LogSettings(format="json"))
    config = msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=simulator.SimulatorConfig)
    listening = listen("127.0.0.1", int(sys.argv[1]), 2048)
    started = lambda: print("Listening", file=sys.stderr, flush=True)  # noqa: E731
    run_app(simulator.create_site(config, SystemClock()), listening, tls=None, started=started)


if __name__ == "__main__":
    main()
