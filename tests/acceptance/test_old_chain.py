"""The old stack's live chain, unchanged but for the address: pushgateway, Prometheus, vmalert with
its live rules, Caddy in front; and what its public endpoints answer.

With the clone that PROMGRES_TEST_OLD_STACK names its own rules run at their own minute, and every
answer is compared with that of its own functions on its own tables, into which goes what its
Telegraf would have written there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support import chain, old_stack
from tests.support.databases import Database, blocking, connect, execute
from tests.support.old_stack import LiveChain
from tests.support.processes import get, wait_until
from tests.support.read_side import read_side
from tests.support.remote_write import write_side

HOUR = timedelta(hours=1)
PERIOD = {
    "p_interval": "1 minute",
    "p_from": (datetime.now(UTC) - HOUR).isoformat(),
    "p_to": (datetime.now(UTC) + HOUR).isoformat(),
}
TIERS = ("mainnet", "testnet")
SUPPLIES = ("circulating_supply", "burned_supply", "fdv", "market_cap")
Question = tuple[str, dict[str, str]]
ASKED: list[Question] = [
    *((f"get_agg_{name}", {"p_schema": tier, **PERIOD}) for name in SUPPLIES for tier in TIERS),
    *((f"get_latest_{name}", {"p_schema": tier}) for name in SUPPLIES for tier in TIERS),
    *(("get_all_latest_token_metrics", {"p_schema": tier}) for tier in TIERS),
    *((f"get_all_latest_{schema}_metrics", {}) for schema in (*TIERS, "common", "cumsum")),
    *(
        ("get_agg_metric", {"p_metric_name": name, "p_schema": schema, **PERIOD})
        for name, schema in (
            ("manifest_tokenomics_total_supply", "mainnet"),
            ("total_mfx_burned", "testnet"),
            ("node_count", "common"),
        )
    ),
    *(
        ("get_agg_cumsum_metric", {"p_metric_name": name, "p_schema": "cumsum", **PERIOD})
        for name in ("web_requests", "system_tcp_sent")
    ),
    ("get_latest_geo_coordinates", {}),
    ("get_latest_mainnet_circulating_supply_value", {}),
    ("get_latest_mainnet_total_supply_value", {}),
    ("get_excluded_addresses", {}),
]
TOTAL_SUPPLY = "get_latest_mainnet_total_supply_value()"
MAINNET_SUPPLIES = "get_agg_metric(manifest_tokenomics_total_supply, mainnet, 1 minute, "
SAMPLES = """
    SELECT time, series_id, name, schema, labels::text, value, exact
    FROM (SELECT * FROM internal.sample UNION ALL SELECT * FROM cumsum.sample
          UNION ALL SELECT * FROM geo.sample) AS samples
    JOIN internal.series USING (series_id)
"""
VALUE_COLUMNS = {
    "manifest_tokenomics_total_supply": "supply",
    "manifest_tokenomics_excluded_supply": "excluded_supply",
    "locked_tokens": "amount",
    "locked_fees": "amount",
}
TAGS = ("instance", "country_name", "city", "supply", "excluded_supply", "amount")

pytestmark = pytest.mark.timeout(420)


@pytest.mark.parametrize("input_", old_stack.INPUTS)
def test_its_public_endpoints_answer_the_same(
    engine_db: Database, input_: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    is_real = input_ == "the real one"
    root = old_stack.clone() if is_real else old_stack.likeness_of_files(tmp_path / "files")
    with write_side(engine_db) as write, read_side(engine_db) as read:
        live = LiveChain(root, tmp_path, write.address, read.url.removeprefix("http://"))
        with live.running():
            complete = _is_complete if is_real else _has_first
            wait_until(lambda: complete(live), 180, live.programs["vmalert"].output)
            assert live.programs["vmalert"].stop() == 0
            answers = {_text(question): _ask(live, question) for question in ASKED}
    if is_real:
        old: Database = request.getfixturevalue("empty_timescale_db")
        theirs = blocking(_old_answers(old, engine_db))
        # There it is the largest supply that any tier ever had, here what its name says.
        (mine,) = answers.pop(TOTAL_SUPPLY)
        supplies = _starting_with(MAINNET_SUPPLIES, answers)
        del theirs[TOTAL_SUPPLY]
        assert answers == theirs
        assert {dict(row)["value"] for row in supplies} == {dict(mine)["value"]}
    else:
        _check_first(answers)


def _text(question: Question) -> str:
    name, arguments = question
    return f"{name}({', '.join(arguments.values())})"


def _starting_with(question: str, answers: dict[str, list[Any]]) -> list[Any]:
    return next(rows for asked, rows in answers.items() if asked.startswith(question))


def _ask(live: LiveChain, question: Question) -> list[Any]:
    """The rows of a function through Caddy, in a form that both can have."""
    function, arguments = question
    status, body = get(f"{live.url('caddy')}/rpc/{function}?{urlencode(arguments)}")
    assert status == 200, body
    return _plain(json.loads(body, parse_float=Decimal, parse_int=Decimal))


def _plain(answer: Any) -> list[Any]:
    rows = answer if isinstance(answer, list) else [{"value": answer}]
    return sorted((_row(row) for row in rows), key=repr)


def _row(row: dict[str, Any]) -> list[tuple[str, Any]]:
    """Numbers as such, however they are written; timestamps in UTC."""
    kinds: dict[str, Callable[[Any], Any]] = {
        "value": _number,
        "latitude": Decimal,
        "longitude": Decimal,
        "timestamp": lambda text: datetime.fromisoformat(text).astimezone(UTC),
    }
    return sorted((key, kinds.get(key, str)(value)) for key, value in row.items())


def _number(value: Any) -> Any:
    return None if value is None else Decimal(str(value)).normalize()


def _is_complete(live: LiveChain) -> bool:
    """Whether everything that its fixtures hold has been recorded."""
    return all(_ask(live, question) for question in ASKED if not _is_empty(question))


def _is_empty(question: Question) -> bool:
    """What its fixtures have nothing of."""
    return question[0] == "get_excluded_addresses" or "web_requests" in question[1].values()


def _has_first(live: LiveChain) -> bool:
    return all(_ask(live, question) for question in ASKED if "system_tcp_sent" not in
               question[1].values() and question[0] != "get_excluded_addresses")  # fmt: skip


def _check_first(answers: dict[str, list[Any]]) -> None:
    """What the functions must say of `chain.FIRST`, worked out by hand there."""
    for tier in TIERS:
        first = chain.FIRST[tier]
        wanted = {
            "circulating_supply": first.circulating,
            "burned_supply": first.burned,
            "fdv": first.fdv,
            "market_cap": first.market_cap,
        }
        for name, value in wanted.items():
            for question in (f"get_latest_{name}({tier})", f"get_agg_{name}({tier}, 1 minute, "):
                rows = _starting_with(question, answers)
                assert {dict(row)["value"] for row in rows} == {_number(value)}, question
        latest = {dict(row)["table_name"] for row in answers[f"get_all_latest_{tier}_metrics()"]}
        assert latest == set(chain.RECORDED)
    coordinates = answers["get_latest_geo_coordinates()"]
    assert coordinates == _plain(chain.COORDINATES)
    (requests,) = answers["get_all_latest_cumsum_metrics()"]
    assert dict(requests)["table_name"] == "web_requests"
    assert dict(requests)["value"] % chain.EACH_EVALUATION == 0
    assert answers["get_latest_mainnet_total_supply_value()"] == [
        [("value", _number(chain.FIRST["mainnet"].total))]
    ]


async def _old_answers(old: Database, ours: Database) -> dict[str, list[Any]]:
    """What its own functions answer, given what was written to us."""
    async with connect(ours) as connection:
        samples = await connection.fetch(SAMPLES)
    await execute(old.url, *old_stack.statements("the real one", "timescaledb"))
    await execute(old.url, *_as_telegraf_writes(samples), *old_stack.refreshes())
    async with connect(old) as connection:
        functions = {
            row[0]
            for row in await connection.fetch(
                "SELECT proname FROM pg_proc WHERE pronamespace = 'api'::regnamespace"
            )
        }
        assert functions - {name for name, _ in ASKED} == {
            "add_excluded_address", "rm_excluded_address"
        }  # fmt: skip
        answers = {}
        for question in ASKED:
            name, arguments = question
            given = ", ".join(f"{key} => {_literal(value)}" for key, value in arguments.items())
            rows = await connection.fetch(f"SELECT to_jsonb(r)::text FROM api.{name}({given}) AS r")
            found = [json.loads(row[0], parse_float=Decimal, parse_int=Decimal) for row in rows]
            is_scalar = bool(found) and not isinstance(found[0], dict)
            answers[_text(question)] = _plain(found[0] if is_scalar else found)
        return answers


def _as_telegraf_writes(samples: Iterable[Any]) -> list[str]:
    """Statements that fill its staging tables: a tag for each set of labels, in which a supply is
    a label as any other."""
    tags: dict[tuple[int, Decimal | None], int] = {}
    rows: dict[str, list[str]] = {"internal": [], "cumsum": []}
    tag_rows = []
    for time, series_id, name, schema, labels, value, exact in samples:
        if (series_id, exact) not in tags:
            tags[series_id, exact] = tag = len(tags) + 1
            label = json.loads(labels)
            if exact is not None:
                label[VALUE_COLUMNS[name]] = f"{exact:f}"
            columns = ", ".join(_literal(label.get(column)) for column in TAGS)
            tag_rows.append(f"({tag}, 'telegraf', {columns})")
        tag = tags[series_id, exact]
        row = f"('{time.isoformat()}', {tag}, {_literal(name)}, {_literal(schema)}, {value!r})"
        rows["cumsum" if schema == "cumsum" else "internal"].append(row)
    assert all(rows.values())
    return [
        f"INSERT INTO staging_internal.prometheus_remote_write_tag VALUES {', '.join(tag_rows)}",
        *(
            f"INSERT INTO staging_{schema}.prometheus_remote_write VALUES {', '.join(values)}"
            for schema, values in rows.items()
        ),
    ]


def _literal(text: str | None) -> str:
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"
