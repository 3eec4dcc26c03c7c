"""A request of many new series keeps nobody else waiting until it is decoded."""

from __future__ import annotations

import threading
import time

from ingest.load.requests import RequestTemplate
from tests.support.answer import Answer
from tests.support.databases import Database
from tests.support.metrics import Metrics
from tests.support.processes import get
from tests.support.remote_write import send, write_side

SERIES = 40_000


def test_others_are_answered_while_a_large_request_is_decoded(postgres_db: Database) -> None:
    body = RequestTemplate(0, SERIES, "large").body(time.time_ns() // 1_000_000)
    answers: list[Answer] = []
    with write_side(postgres_db) as side:
        thread = threading.Thread(target=lambda: answers.append(send(side.url, body)))
        thread.start()
        others = []
        while thread.is_alive():
            others.append(get(f"http://{side.address}/-/healthy")[0])
        thread.join()
        received = Metrics(side.address).samples("received")
    assert [answer.status for answer in answers] == [204]
    assert set(others) == {200}
    # Decoding alone pauses 80 times; a loop that is held all the while answers a few.
    assert len(others) > 40
    assert received == SERIES
