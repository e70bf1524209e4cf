"""Configures logging: JSON lines in production, readable text in a terminal, secrets redacted in both."""

import json
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, cast

import structlog

from service.config.schema import LogSettings

_SECRETS = re.compile(
    r"""(?P<name>(?:__Secure-[\w-]+|SAPISID|APISID|S?H?SID|NID|f\.sid)=)[^;,\s"'\\]+"""
    r"""|(?P<bearer>\b[Bb]earer\s+)[\x21-\x7e]+"""
    r"""|\bsk-gg-[\w-]+""",
)
_PLAIN = (int, float, bool, type(None))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST = 8000


def configure(settings: LogSettings) -> None:
    """Configure structlog and route the standard library's logging through it."""
    console = is_console(settings)
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20),
        )
        if not console
        else structlog.processors.format_exc_info,
    ]
    last: list[Any] = (
        [_redact, _printable, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())] if console else [_line]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[_drop_meta, *last], foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, level), force=True)


def is_console(settings: LogSettings) -> bool:
    """Return whether logs are formatted for a terminal."""
    return settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())


def redacted(text: str) -> str:
    """Return a text with cookies and keys replaced by `***`."""
    if not _may_hold_a_secret(text):
        return text
    return _SECRETS.sub(lambda found: f"{found['name'] or found['bearer'] or ''}***", text)


def _may_hold_a_secret(text: str) -> bool:
    """Return whether a text may contain a secret: a cheap check that spares most texts the full search."""
    return "=" in text or "earer" in text or "sk-gg-" in text


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Redact values before they are rendered: a secret may contain any character, even a quote."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redacted(value)
        elif not isinstance(value, _PLAIN):
            event[key] = _cleared(value)
    return event


def _cleared(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redacted(value)
        case dict():
            table = cast("dict[Any, Any]", value)
            return {redacted(str(key)): _cleared(below) for key, below in table.items()}
        case list() | tuple():
            return [_cleared(below) for below in cast("list[Any]", value)]
        case _:
            return redacted(repr(value))


_to_json = json.JSONEncoder(default=repr).encode


def _line(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """Render an event as JSON; a line that may contain a secret is rendered again from redacted values.

    JSON escapes none of the characters that `_may_hold_a_secret` searches for, so checking the line is enough.
    """
    try:
        line = _to_json(event)
    except (TypeError, ValueError):  # a key that is not a string, or a circular value
        line = None
    if line is not None and not _may_hold_a_secret(line):
        return line
    return _to_json(_redact(logger, method, event))


def _drop_meta(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event


def _printable(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters, which could forge a line or move the cursor; only tracebacks keep line breaks."""
    for key, value in event.items():
        if isinstance(value, str) and key not in {"exception", "stack"}:
            event[key] = _CONTROL.sub(lambda found: repr(found[0])[1:-1], value[:_LONGEST])
    return event
