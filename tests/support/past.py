"""A Prometheus that has a past: blocks made from text, and rules over what is in them.

Raw samples are five minutes apart, a minute before each full five, so that every quarter of an hour
sees three of them whatever a range's ends include. Values are eighths: sums of them are exact.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import Program, free_port, get, wait_until
from tests.support.remote_write import send
from tests.support.senders import require

RAW_MS, STEP_MS, DAY_MS = 300_000, 900_000, 86_400_000
ZONES = ("a", "b")

RULES: list[dict[str, Any]] = [
    {"record": "web_requests", "expr": "sum(avg_over_time(raw_requests[15m])) * 768"},
    {"record": "manifest_tokenomics_total_supply", "expr": "raw_supply",
     "labels": {"manifest_tier": "mainnet"}},
    {"record": "total_mfx_burned", "expr": "max(raw_2)", "labels": {"manifest_tier": "mainnet"}},
    {"record": "talib_mfx_power_conversion", "expr": "max(raw_3)"},
    {"record": "manifest_geo_latitude", "expr": "raw_latitude"},
    {"record": "manifest_geo_longitude", "expr": "raw_longitude"},
    {"record": "manifest_geo_metadata", "expr": "raw_place"},
    {"record": "zone:raw:sum", "expr": "sum by (zone) (raw_1)"},
    {"record": "raw:sum", "expr": "sum(raw_1)"},
    # Chained: what they read is recorded by the rule before.
    {"record": "raw:twice", "expr": "raw:sum * 2"},
    {"record": "raw:peak", "expr": "max_over_time(raw:sum[50m])", "labels": {"over": "50m"}},
    {"record": "zone:raw:b", "expr": 'sum(zone:raw:sum{zone=~"b.?"})'},
    *({"record": f"raw:{number}:{how}", "expr": f"{how}(raw_{number})"}
      for number, how in ((1, "max"), (1, "min"), (2, "sum"), (2, "count"), (3, "avg"))),
    *({"record": f"raw:{number}:last", "expr": f"last_over_time(raw_{number}[15m])"}
      for number in (1, 2, 3)),
]  # fmt: skip
"""Twenty, of which each gives a value at every step."""

CHAINED: dict[str, Callable[[Mapping[int, float], int], float]] = {
    "raw:twice": lambda sums, at: 2 * sums[at],
    "raw:peak": lambda sums, at: max(sums[at - back * STEP_MS] for back in range(4)),
}
"""What chained rules must give, from what `raw:sum` gives at each time."""


def exposition(start_ms: int, end_ms: int) -> Iterator[str]:
    """Lines of OpenMetrics text: everything from `start_ms` on, before `end_ms`."""
    for name, labels, value in _series():
        for at in range(start_ms - 60_000, end_ms, RAW_MS):
            changing = f'supply="{10**20 + at // DAY_MS}"' if name == "raw_supply" else labels
            yield f"{name}{{{changing}}} {value(at // RAW_MS)} {at / 1000:.3f}\n"
    yield "# EOF\n"


def _series() -> Iterator[tuple[str, str, Callable[[int], float]]]:
    """Name, labels, and the value of the n-th five minutes since 1970."""
    for number in (1, 2, 3):
        for place, zone in enumerate(ZONES):
            factor = 7919 * number + 104_729 * place
            yield f"raw_{number}", f'zone="{zone}"', partial(_eighths, factor)
    yield "raw_requests", 'zone="a"', lambda n: n * 31 % 101 * 3
    yield "raw_supply", "", lambda n: 1
    yield "raw_latitude", 'instance="node"', lambda n: 45.5
    yield "raw_longitude", 'instance="node"', lambda n: n % 90
    yield "raw_place", 'instance="node",country_name="Canada",city="Montréal"', lambda n: 1


def _eighths(factor: int, number: int) -> float:
    return number * factor % 9973 / 8 + 1


@dataclass
class Past:
    """A running Prometheus whose head is empty."""

    url: str
    program: Program

    def range(
        self, expr: str, start_ms: int, end_ms: int
    ) -> Iterator[tuple[dict[str, str], int, str]]:
        """Labels, milliseconds and value of an expression at every step before `end_ms`."""
        size = 5000 * STEP_MS
        for first in range(start_ms, end_ms, size):
            last = min(first + size, end_ms) - STEP_MS
            query = {"query": expr, "start": first // 1000, "end": last // 1000, "step": 900}
            body = "&".join(f"{key}={_quoted(value)}" for key, value in query.items()).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = send(f"{self.url}/api/v1/query_range", body, headers)
            assert answer.status == 200, answer.text
            for series in json.loads(answer.text)["data"]["result"]:
                for seconds, value in series["values"]:
                    yield series["metric"], round(seconds * 1000), value


def _quoted(value: object) -> str:
    return "".join(f"%{byte:02X}" for byte in str(value).encode())


def rule_file(folder: Path, rules: Iterable[Mapping[str, Any]] = RULES) -> Path:
    """A file of one group whose interval is a quarter of an hour."""
    path = folder / "past.yml"
    group = {"name": "past", "interval": "15m", "rules": [dict(rule) for rule in rules]}
    path.write_text(yaml.safe_dump({"groups": [group]}))
    return path


@contextmanager
def prometheus_with(folder: Path, lines: Iterable[str], *more: str) -> Iterator[Past]:
    """A Prometheus that scrapes nothing and has these samples; `more` are options of it."""
    require("prometheus")
    text, data = folder / "past.om", folder / "past"
    with text.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    made = subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "--quiet", "--max-block-duration=240h",
         "openmetrics", text, data],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    text.unlink()
    config = folder / "past-prometheus.yml"
    config.write_text("global: {}\n")
    address = f"127.0.0.1:{free_port()}"
    options = [
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address={address}",
        *more,
    ]
    with Program("prometheus", *options) as program:
        url = f"http://{address}"
        wait_until(lambda: get(f"{url}/-/ready")[0] == 200, what=program.output)
        yield Past(url, program)
    shutil.rmtree(data)
