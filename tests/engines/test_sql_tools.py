"""Every statement of docs/how-to/sql-tools.md runs as it stands, as a reader, with macros as
Grafana writes them out."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from tests.engines.sql_api import Api, Sample

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "sql-tools.md"
MINUTE = timedelta(minutes=1)


def statements() -> list[str]:
    """SQL blocks, and SQL in Python's strings, as the database gets them."""
    text = PAGE.read_text()
    found = re.findall(r"^```sql\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    python = "".join(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    quoted = re.findall(r'"""(SELECT.*?)"""', python, re.DOTALL)
    return [*found, *quoted, *re.findall(r"\$\$(SELECT.*?)\$\$", python)]


async def test_every_statement_of_the_page(api: Api) -> None:
    now = await api.minute()
    await api.store(
        *(
            Sample(now - n * MINUTE, "http_requests_total", 9 - n, labels={"job": "a", "pod": pod})
            for n in range(9)
            for pod in "xy"
        )
    )
    await api.connection.execute("SELECT internal.create_metric_view('http_requests_total')")
    if not api.database.one_session:
        await api.connection.execute("SET SESSION AUTHORIZATION promgres_reader")
    since, until = ((now + n * 9 * MINUTE).strftime("'%Y-%m-%dT%H:%M:%SZ'") for n in (-1, 1))
    macros = {
        "$__interval": "1m",
        "$__timeFrom()": since,
        "$__timeTo()": until,
        "$__timeFilter(time)": f"time BETWEEN {since} AND {until}",
        "$__timeGroupAlias(time, '1m')": 'floor(extract(epoch from time)/60)*60 AS "time"',
        ":zone": "'Europe/Vienna'",
    }
    assert len(statements()) == 7
    for statement in statements():
        for macro, text in macros.items():
            statement = statement.replace(macro, text)
        assert await api.connection.fetch(statement), statement
