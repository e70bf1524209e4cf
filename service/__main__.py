"""`python -m service` is `gemini-gateway`."""

from service.cli import main

main()
