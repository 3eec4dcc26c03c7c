"""Structured logs: key=value lines for people, JSON for machines; never a secret.

Nothing logs an API key on purpose. Where one stands in what somebody sent, as a name or in a path,
its secret is taken out of the finished line.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Literal

import structlog

LogFormat = Literal["auto", "text", "json"]

API_KEY = re.compile(r"(pmk_[a-z0-9]{12})_[A-Za-z0-9_-]+")


def configure_logs(level: str = "info", log_format: LogFormat = "auto") -> None:
    """Send all logs to standard error, as text on a terminal and as JSON elsewhere (`auto`)."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    numeric = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
            _without_secrets,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Libraries()], force=True)


def get_logger(room: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that names the room it speaks from."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(room=room)
    return logger


class _Libraries(logging.Handler):
    """Warnings and errors of libraries, in the form of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one."""
        log = get_logger(record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)


def without_secrets(text: str) -> str:
    """A text for people, with what is left of API keys in it."""
    return API_KEY.sub(r"\1_***", text) if "pmk_" in text else text


def _without_secrets(_: object, __: str, line: Any) -> str:
    """The last processor: what it gets is the line as it will be printed."""
    return without_secrets(line)
