"""Structured logs: key=value lines for people, JSON for machines; never a secret.

Nothing logs an API key on purpose. Where one stands in what somebody sent, as a name or in a path,
its secret is taken out of the finished line.

To log never raises: work must not end because a disk is full, a pipe is closed, a terminal is gone,
or a value cannot be shown. It waits for a reader who does not read only for a moment, and what
repeats itself is limited by rate, so that a log does not fill the disk that it complains about.
"""

from __future__ import annotations

import logging
import os
import re
import select
import stat
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TextIO

# structlog looks for rich, to draw tracebacks with it: 70 modules, a tenth of the start of a small
# command. Ours are lines of text, and rich, which draws bars of progress, is there all the same.
_rich, sys.modules["rich"] = sys.modules.get("rich"), None  # type: ignore[assignment]
import structlog  # noqa: E402

del sys.modules["rich"]
if _rich is not None:
    sys.modules["rich"] = _rich

LogFormat = Literal["auto", "text", "json"]

API_KEY = re.compile(r"(pmk_[a-z0-9]{12})_[A-Za-z0-9_-]+")

MOST_REPEATS = 20
REPEAT_SECONDS = 10.0
"""So many lines with one event of one room in so many seconds; the others are counted."""
MOST_EVENTS = 1000
"""Events that are told apart: some carry a name that senders choose."""
PATIENCE_SECONDS = 0.25
"""How long a line waits for a reader. After one that was not read, no other line waits at all
until there is room again."""

UNWRITTEN: Counter[str] = Counter()
"""Lines that nobody will see, by reason: `lost` (not to be written), `repeated` (see above)."""


def configure_logs(level: str = "info", log_format: LogFormat = "auto") -> None:
    """Send all logs to standard error, as text on a terminal and as JSON elsewhere (`auto`)."""
    output = Output(sys.stderr)
    as_json = log_format == "json" or (log_format == "auto" and not output.is_terminal)
    numeric = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=output.is_terminal)
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
        wrapper_class=type(
            "Logger",
            (_NeverRaising, structlog.make_filtering_bound_logger(numeric)),
            {"_limit": RateLimit()},
        ),
        logger_factory=lambda *_: _Lines(output),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Libraries()], force=True)


def get_logger(room: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that names the room it speaks from."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(room=room)
    return logger


class Output:
    """A stream of ours, such as standard error, that never raises and hardly ever waits.

    What goes to a file or to a reader who reads is written at once. A pipe or a terminal whose
    reader has stopped is waited for a moment, then the text is lost, and counted.

    Args:
        stream: None where the process was started without one.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._descriptor = _descriptor_of(stream)
        self._may_block = self._descriptor is not None and _may_block(self._descriptor)
        self._lock = threading.Lock()
        self._patience_seconds = PATIENCE_SECONDS
        self._is_torn = False

    @property
    def is_terminal(self) -> bool:
        """Whether a person may be reading."""
        return self._descriptor is not None and os.isatty(self._descriptor)

    def write(self, text: str) -> bool:
        """Write whole lines; whether they are written."""
        try:
            with self._lock:
                written = self._write(text)
        except Exception:  # OSError, ValueError of a closed stream, and whatever a stream thinks of
            written = False
        if not written:
            UNWRITTEN["lost"] += 1
        return written

    def _write(self, text: str) -> bool:
        if self._descriptor is None:
            if self._stream is None:
                return False
            self._stream.write(text)
            self._stream.flush()
            return True
        data = text.encode("utf-8", "backslashreplace")
        left = memoryview(b"\n" + data if self._is_torn else data)
        while left and self._is_writable():
            self._is_torn = True
            piece = left[: select.PIPE_BUF] if self._may_block else left
            left = left[os.write(self._descriptor, piece) :]
        self._is_torn = self._is_torn and bool(left)
        return not left

    def _is_writable(self) -> bool:
        """Whether so much as `PIPE_BUF` can be written without waiting; files always take it."""
        if not self._may_block:
            return True
        poll = select.poll()
        poll.register(self._descriptor or 0, select.POLLOUT)
        is_writable = bool(poll.poll(self._patience_seconds * 1000))
        self._patience_seconds = PATIENCE_SECONDS if is_writable else 0.0
        return is_writable


class _Lines:
    """structlog's last step: a line for each event, whatever its level."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def msg(self, line: str) -> None:
        """Write a line."""
        self._output.write(line + "\n")

    debug = info = warning = error = critical = exception = msg


class Repeated(NamedTuple):
    """Lines that were not shown because too many like them were."""

    room: str
    event: str
    lines: int


class RateLimit:
    """Shows the first lines of what repeats itself, and counts the others.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines: dict[tuple[str, str], int] = {}
        self._began: dict[tuple[str, str], float] = {}
        self._next_look = 0.0

    def admits(self, room: str, event: str) -> bool:
        """Whether a line with this event is shown."""
        key = (room, event)
        if key not in self._lines and len(self._lines) >= MOST_EVENTS:
            key = (room, "")  # all that is new shares what one event may
        self._began.setdefault(key, self._clock())
        self._lines[key] = self._lines.get(key, 0) + 1
        return self._lines[key] <= MOST_REPEATS

    def over(self) -> list[Repeated]:
        """Of what has had its seconds, that which was not shown in full; looks once a second."""
        now = self._clock()
        if now < self._next_look:
            return []
        self._next_look = now + 1
        due = [key for key, began in list(self._began.items()) if now - began >= REPEAT_SECONDS]
        for key in due:
            self._began.pop(key, None)
        ended = [(key, self._lines.pop(key, 0)) for key in due]
        return [
            Repeated(*key, lines - MOST_REPEATS) for key, lines in ended if lines > MOST_REPEATS
        ]


class _NeverRaising(structlog.BoundLoggerBase):
    """What every logger of ours does with an event; see the head of this file."""

    _limit = RateLimit()

    def _proxy_to_logger(
        self, method_name: str, event: str | None = None, *event_args: Any, **event_kw: Any
    ) -> Any:
        try:
            self._tell_repeated()
            room = str(self._context.get("room", ""))
            if method_name != "debug" and not self._limit.admits(room, str(event)):
                UNWRITTEN["repeated"] += 1
                return
            super()._proxy_to_logger(method_name, event, *event_args, **event_kw)
        except Exception as error:  # of what the event carries, say: a line without it has to do
            if "cut" in self._context:
                UNWRITTEN["lost"] += 1
                return
            bare = structlog.get_logger(room=self._context.get("room"), cut=type(error).__name__)
            getattr(bare, method_name)(_shown(event))

    def _tell_repeated(self) -> None:
        for one in self._limit.over():
            told = {"room": one.room, "of": one.event, "lines": one.lines}
            super()._proxy_to_logger("warning", "repeated and not shown", **told)


def tell_repeated() -> None:
    """Say how many lines were not shown lately, if nothing else is said; call it now and then."""
    logger = structlog.get_logger(room="logs").bind()
    if isinstance(logger, _NeverRaising):
        logger._tell_repeated()


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return type(value).__name__


class _Libraries(logging.Handler):
    """Warnings and errors of libraries, in the form of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one."""
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit
            message = _shown(record.msg)
        get_logger(record.name).log(record.levelno, message, exc_info=record.exc_info)


def without_secrets(text: str) -> str:
    """A text for people, with what is left of API keys in it."""
    return API_KEY.sub(r"\1_***", text) if "pmk_" in text else text


def _without_secrets(_: object, __: str, line: Any) -> str:
    """The last processor: what it gets is the line as it will be printed."""
    return without_secrets(line)


def _descriptor_of(stream: TextIO | None) -> int | None:
    """Where a stream really writes; None for one in memory, or none at all."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _may_block(descriptor: int) -> bool:
    """Whether somebody has to read what is written there."""
    try:
        return not stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False
