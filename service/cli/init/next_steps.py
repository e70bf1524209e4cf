"""Build the commands that `init` suggests as next steps."""

import os
import shlex
from pathlib import Path

from service.cli.options import CONFIG_VARIABLE, DEFAULT_CONFIG
from service.config.schema import ServerSettings
from service.server.listeners import local_url

_BODY = '{"model": "gemini-3-pro", "messages": [{"role": "user", "content": "Hello!"}]}'


def command_line(path: Path, *arguments: str) -> str:
    """Return a `gemini-gateway` command line that uses the settings at `path`."""
    found = path.absolute() == DEFAULT_CONFIG.absolute() and not os.environ.get(CONFIG_VARIABLE)
    return shlex.join(["gemini-gateway", *arguments, *([] if found else ["--config", str(path)])])


def base_url(server: ServerSettings) -> str:
    """Return the base URL for a client on this machine."""
    return f"{local_url(server.host, server.port)}{server.prefix}/v1"


def curl_line(base: str, key: str) -> str:
    """Return a curl command that sends a first request."""
    headers = f"-H {shlex.quote(f'Authorization: Bearer {key}')} -H 'Content-Type: application/json'"
    return f"curl {shlex.quote(f'{base}/chat/completions')} {headers} -d {shlex.quote(_BODY)}"
