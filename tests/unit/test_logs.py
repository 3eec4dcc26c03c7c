"""Logs: one form for everybody's lines, and no secret in any."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from ingest.logs import LogFormat, configure_logs, get_logger
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
