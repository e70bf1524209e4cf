"""Runs `gemini-gateway` as `python -m service`. The probe, which containers run often, loads no other module."""

import sys

from service.cli.probe import is_probe, probe


def main() -> None:
    """Run the command."""
    if is_probe(sys.argv[1:]):
        sys.exit(probe(sys.argv[2]))
    from service.cli import main as cli

    cli.main()


if __name__ == "__main__":
    main()
