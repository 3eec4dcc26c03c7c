"""Logs: one form for everybody's lines, and no secret in any."""

from __future__ import annotations

import errno
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from ingest.logs import (
    MOST_REPEATS,
    REPEAT_SECONDS,
    UNWRITTEN,
    LogFormat,
    RateLimit,
    configure_logs,
    get_logger,
    tell_repeated,
)
from tests.support.keys import KEY, KEY_ID, SECRET


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_the_secret_of_a_key_is_in_no_line(
    capsys: pytest.CaptureFixture[str], log_format: LogFormat
) -> None:
    configure_logs("debug", log_format)
    log = get_logger("test")
    log.info(f"refused {KEY}", path=f"/{KEY}/x", nested={"of": [KEY]}, cut=KEY[:30])
    try:
        int(KEY)
    except ValueError:
        log.exception("failed")
        logging.getLogger("library").exception("failed with %s", KEY)
    said = capsys.readouterr().err
    assert said.count(f"pmk_{KEY_ID}_***") >= 7
    assert SECRET[:10] not in said


def test_libraries_speak_as_we_do(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "json")
    logging.getLogger("library").warning("so %s", "it is")
    logging.getLogger("library").info("nobody asked")
    line = json.loads(capsys.readouterr().err)
    assert (line["room"], line["level"], line["event"]) == ("library", "warning", "so it is")


class Broken(io.StringIO):
    """A stream that takes nothing, of a terminal that is gone or a disk that is full."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        raise self._error


class Unshowable:
    """What a library may hand us."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EIO, "Input/output error"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        ValueError("I/O operation on closed file"),
        UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_line_that_cannot_be_written_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, error: Exception, log_format: LogFormat
) -> None:
    """Of ours and of libraries; it is counted instead."""
    monkeypatch.setattr(sys, "stderr", Broken(error))
    configure_logs("info", log_format)
    lost = UNWRITTEN["lost"]
    get_logger("test").error("failed", reason="x")
    logging.getLogger("library").error("failed")
    assert UNWRITTEN["lost"] == lost + 2


def test_a_full_device_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", full)
        configure_logs("info", "json")
        lost = UNWRITTEN["lost"]
        get_logger("test").error("failed")
        assert UNWRITTEN["lost"] == lost + 1


def test_without_standard_error_nothing_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    configure_logs("info", "auto")
    get_logger("test").error("failed")


def test_what_cannot_be_shown_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "json")
    get_logger("test").error("failed with something", what=Unshowable())
    logging.getLogger("library").error("%d of %s", "one")
    logging.getLogger("library").error(Unshowable())
    get_logger("test").error("half a pair \ud800", name="\udcff")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[0]["event"] == "failed with something"
    assert lines[0]["cut"] == "RuntimeError"
    assert lines[1]["event"] == "%d of %s"
    assert lines[-1]["event"].startswith("half a pair")


def test_what_repeats_itself_is_counted_and_not_shown() -> None:
    now = 0.0
    limit = RateLimit(lambda: now)
    shown = [limit.admits("room", "event") for _ in range(MOST_REPEATS + 5)]
    assert shown == [True] * MOST_REPEATS + [False] * 5
    assert limit.admits("other room", "event")
    assert limit.over() == []
    now = REPEAT_SECONDS
    assert limit.over() == [("room", "event", 5)]
    assert limit.admits("room", "event")
    now += REPEAT_SECONDS
    assert limit.over() == []


def test_a_line_says_how_many_were_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("ingest.logs.RateLimit", lambda: RateLimit(lambda: now))
    configure_logs("info", "json")
    for number in range(MOST_REPEATS + 7):
        get_logger("test").warning("again", number=number)
    now = REPEAT_SECONDS
    tell_repeated()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["number"] for line in lines[:-1]] == list(range(MOST_REPEATS))
    told = lines[-1]
    assert (told["room"], told["event"], told["of"], told["lines"]) == (
        "test",
        "repeated and not shown",
        "again",
        7,
    )


SPEAKER = """
import logging, sys
from ingest.logs import UNWRITTEN, configure_logs, get_logger
configure_logs("info", "json")
sys.stdin.readline()
for number in range(3000):
    get_logger(f"room {number}").error("failed", text="x" * 1000)
    logging.getLogger(f"library {number}").error("failed")
print(UNWRITTEN["lost"])
"""


@pytest.mark.parametrize("reader", ["gone", "asleep"])
def test_a_process_outlives_the_reader_of_its_log(reader: str) -> None:
    """Who has closed the pipe, or does not read on."""
    speaker = subprocess.Popen(
        [sys.executable, "-c", SPEAKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert speaker.stdin
    assert speaker.stdout
    assert speaker.stderr
    try:
        if reader == "gone":
            speaker.stderr.close()
        speaker.stdin.write("\n")
        speaker.stdin.close()
        lost = int(speaker.stdout.readline())
        assert speaker.wait(60) == 0
        assert 0 < lost <= 6000
        if reader == "asleep":
            said = speaker.stderr.read().splitlines()
            assert all(json.loads(line)["event"] == "failed" for line in said[:-1])
    finally:
        speaker.kill()
        speaker.wait(10)
        speaker.stdout.close()
        speaker.stderr.close()
