"""Clients that ask dear PromQL, many at once. Beside them somebody asks a little and writes, and
must not notice."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlencode

from tests.attacks.siege import (
    LONG_SECONDS,
    MOST_BYTES,
    Siege,
    descendants,
    forget_peak,
    peak_bytes,
)
from tests.support.keys import bearer
from tests.support.remote_write import send

CLIENTS = 50
SECONDS = 240
BODY = {"Content-Type": "application/x-www-form-urlencoded"}
DEAR = " + ".join(["max_over_time(quantile_over_time(0.5, vector(1)[1h:1s])[3h:1s])"] * 60)
"""Half a minute of a processor, and nothing in the database is needed for it."""
DEAR_TIMEOUT = "3s" if LONG_SECONDS else "1s"
"""After which the next ones have their turn: the short form leaves processors to others."""
GREEDY = (
    "vector(1)[100d:1s]",
    "max_over_time(vector(1)[100d:1s])",
    "sum_over_time((vector(1) or vector(2))[50d:1s])",
    "label_replace(vector(1)[1h:1ms], 'a', 'b', 'c', '(.*)*')",
)
"""What would need more than a query may have."""
HEARD = frozenset({200, 400, 422, 503})


def _ask(siege: Siege, key: str, path: str, **form: str) -> int:
    """The status of a query; each has Prometheus' document."""
    url = siege.read_url.replace("/rpc/", f"/api/v1/{path}")
    answer = send(url, urlencode(form).encode(), BODY | bearer(key), seconds=SECONDS)
    document = json.loads(answer.text)
    assert document["status"] == ("success" if answer.status == 200 else "error")
    return answer.status


def _little(siege: Siege) -> int:
    """A small question of the neighbour."""
    query = "count({__name__=~'neighbour.*'}) or vector(0)"
    return _ask(siege, siege.neighbour, "query", query=query)


def test_fifty_clients_with_dear_queries(siege: Siege) -> None:
    """Too many hear 503, the others end in their time; the neighbour's small ones are answered."""
    dear = partial(_ask, siege, siege.attacker, "query", query=DEAR, time="0", timeout=DEAR_TIMEOUT)

    def attack() -> list[int]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            asked = [pool.submit(dear) for _ in range(CLIENTS)]
            answers = [_little(siege) for _ in range(5)]
            assert set(answers) == {200}, answers
            return [each.result() for each in asked] + answers

    report = siege.resist(attack, HEARD)
    assert report.statuses[503] >= CLIENTS // 2, report
    assert _ask(siege, siege.attacker, "query", query="1") == 200


def test_queries_that_want_all_memory(siege: Siege) -> None:
    """They are refused; a process of theirs stays within what `query.max_samples` may take."""
    api = siege.child("api")

    def attack() -> list[int]:
        with ThreadPoolExecutor(len(GREEDY)) as pool:
            asked = [
                pool.submit(_ask, siege, siege.attacker, "query", query=query) for query in GREEDY
            ]
            return [each.result() for each in asked] + [_little(siege)]

    forget_peak(api.pid)
    report = siege.resist(attack, HEARD)
    assert report.statuses[422] >= 2, report
    for each in descendants(api.pid):
        assert peak_bytes(each.pid) < MOST_BYTES
