"""The stack of Telegraf and PostgREST: in a database, and as processes; or a likeness of it.

The clone of it that PROMGRES_TEST_OLD_STACK names carries no licence, so nothing of it is in here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support import chain
from tests.support.compose import interpolate
from tests.support.processes import Program, free_port, get, wait_until
from tests.support.remote_write import send
from tests.support.senders import require

OLD_STACK = "PROMGRES_TEST_OLD_STACK"
SCHEMAS = ["api", "cumsum", "geo", "internal", "staging_cumsum", "staging_internal"]
INPUTS = ["a likeness", "the real one"]
ROW = f"('{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d} 07:08', 7, 'up', 'common', 1.5)"
"""For the columns time, tag_id, name, schema, value; so new that no job drops it."""

_WIDE = """CREATE TABLE {}.prometheus_remote_write (
    time timestamptz NOT NULL, tag_id bigint NOT NULL, name text NOT NULL, schema text NOT NULL,
    value numeric NOT NULL, UNIQUE (time, tag_id, name, schema))"""
_LIKENESS = [
    *(f"CREATE SCHEMA {name}" for name in SCHEMAS),
    *(_WIDE.format(name) for name in ("internal", "cumsum", "staging_internal")),
    "CREATE TABLE internal.prometheus_remote_write_tag (tag_id bigint PRIMARY KEY, supply text)",
    """CREATE FUNCTION staging_internal.move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO internal.prometheus_remote_write SELECT * FROM rows ON CONFLICT DO NOTHING;
        RETURN NULL; END $$""",
    """CREATE TRIGGER move AFTER INSERT ON staging_internal.prometheus_remote_write
        REFERENCING NEW TABLE AS rows FOR EACH STATEMENT
        EXECUTE FUNCTION staging_internal.move()""",
    """CREATE FUNCTION api.get_agg_metric(p_name text) RETURNS numeric LANGUAGE sql AS $$
        SELECT max(value) FROM internal.prometheus_remote_write WHERE name = p_name $$""",
]
_EXTENSION = "CREATE EXTENSION IF NOT EXISTS timescaledb"
_JOBS = [
    "SELECT create_hypertable('internal.prometheus_remote_write', 'time')",
    "SELECT add_retention_policy('internal.prometheus_remote_write', INTERVAL '1 year')",
    """CREATE MATERIALIZED VIEW geo.latest_coords WITH (timescaledb.continuous) AS
        SELECT time_bucket('1 minute', time) AS bucket, name, max(value) AS value
        FROM internal.prometheus_remote_write GROUP BY 1, 2 WITH NO DATA""",
    """SELECT add_continuous_aggregate_policy('geo.latest_coords',
        start_offset => INTERVAL '1 hour', end_offset => INTERVAL '1 minute',
        schedule_interval => INTERVAL '1 minute')""",
]
_ONLY_TIMESCALEDB = ("SELECT create_hyper", "SELECT add_retention", "BEGIN;", "COMMIT;")


def clone() -> Path:
    """The clone; without one the test skips."""
    path = os.environ.get(OLD_STACK)
    if not path:
        pytest.skip(f"{OLD_STACK} names no clone of the old stack")
    return Path(path)


def statements(input_: str, engine: str) -> list[str]:
    """What makes one of `INPUTS` in an empty database; on engine postgres without what needs
    TimescaleDB: of the real one its first migration alone."""
    if input_ == "a likeness":
        return [_EXTENSION, *_LIKENESS, *_JOBS] if engine == "timescaledb" else _LIKENESS
    files = sorted((clone() / "timescaledb" / "migrations").glob("*.up.sql"))
    if engine == "timescaledb":
        return [_EXTENSION, *(file.read_text() for file in files)]
    lines = files[0].read_text().splitlines()
    return ["\n".join(line for line in lines if not line.startswith(_ONLY_TIMESCALEDB))]


def refreshes() -> list[str]:
    """The statements with which the real one refreshes its aggregates after a backfill; to the end,
    for what has come in the minute that still runs."""
    text = (clone() / "timescaledb/scripts/bulk_refresh_aggregates.sql").read_text()
    calls = re.findall(r"^CALL .*?;", text, re.MULTILINE)
    return [call.replace("now()", "NULL") for call in calls]


@dataclass
class LiveChain:
    """The old stack's senders and its Caddy as processes, with its own files, commands and
    environment; the ports alone are others. Telegraf's and PostgREST's addresses are ours.

    Args:
        root: the clone, or what `likeness_of_files` made.
        folder: for copies of its files and for data.
    """

    root: Path
    folder: Path
    write_address: str
    read_address: str

    def __post_init__(self) -> None:
        self._ports: dict[str, int] = {}
        self.programs: dict[str, Program] = {}

    @contextmanager
    def running(self) -> Iterator[LiveChain]:
        """Start what it starts, in its order, and end all of it."""
        with ExitStack() as stack:
            stack.enter_context(
                self._start("pushgateway", "prometheus-pushgateway", "--persistence.file=",
                            f"--web.listen-address=127.0.0.1:{self._port('pushgateway')}")
            )  # fmt: skip
            self._ready("pushgateway", "/-/ready")
            for fixture in sorted((self.root / "tests/docker/fixtures").glob("*.prom")):
                url = f"{self.url('pushgateway')}/metrics/job/{fixture.stem}"
                answer = send(url, fixture.read_bytes(), {}, method="POST")
                assert answer.status == 200, answer.text
            config = self._copy("tests/docker/prometheus-test.yml")
            stack.enter_context(
                self._start("prometheus", "prometheus", f"--config.file={config}",
                            f"--storage.tsdb.path={self.folder / 'prometheus'}",
                            f"--web.listen-address=127.0.0.1:{self._port('prometheus')}")
            )  # fmt: skip
            self._ready("prometheus", "/-/ready")
            stack.enter_context(self._start("vmalert", "vmalert", *self._vmalert_flags()))
            self._ready("vmalert", "/health")
            caddyfile = self._copy("caddy/Caddyfile")
            environment = {
                "XDG_DATA_HOME": str(self.folder),
                "XDG_CONFIG_HOME": str(self.folder),
                "CADDY_ADMIN": f"127.0.0.1:{self._port('caddy admin')}",
            }
            stack.enter_context(
                self._start("caddy", "caddy", "run", "--config", caddyfile, "--adapter",
                            "caddyfile", env=environment)
            )  # fmt: skip
            self._ready("caddy", "/-/ready")
            yield self

    def url(self, name: str) -> str:
        """Where a service listens."""
        return f"http://127.0.0.1:{self._port(name)}"

    def _vmalert_flags(self) -> list[str]:
        """The command of its docker-compose.yml, with the variables of its .env."""
        service = yaml.safe_load((self.root / "docker-compose.yml").read_text())["services"]
        environment = dict(
            line.split("=", 1)
            for line in (self.root / ".env").read_text().splitlines()
            if "=" in line and not line.startswith("#")
        )
        assert set(environment) == {"DATASOURCE_URL", "TELEGRAF_URL"}
        path = urlsplit(environment["TELEGRAF_URL"]).path
        moved = {
            "DATASOURCE_URL": self.url("prometheus"),
            "TELEGRAF_URL": f"http://{self.write_address}{path}",
        }
        flags = [interpolate(flag, moved) for flag in service["vmalert"]["command"]]
        return [
            flag.replace("/etc/vmalert/", f"{self.root}/vmalert/").replace(
                ":8880", f"127.0.0.1:{self._port('vmalert')}"
            )
            for flag in flags
        ]

    def _copy(self, name: str) -> Path:
        """A file of its, in which addresses are those of here."""
        text = (self.root / name).read_text()
        addresses = {
            "pushgateway_test:9091": f"127.0.0.1:{self._port('pushgateway')}",
            "localhost:9090": f"127.0.0.1:{self._port('prometheus')}",
            "postgrest:3000": self.read_address,
            ":3000 {": f"http://127.0.0.1:{self._port('caddy')} {{",
        }
        for theirs, ours in addresses.items():
            text = text.replace(theirs, ours)
        path = self.folder / Path(name).name
        path.write_text(text)
        return path

    def _port(self, name: str) -> int:
        return self._ports.setdefault(name, free_port())

    def _start(
        self, name: str, program: str, *arguments: str | Path, env: dict[str, str] | None = None
    ) -> Program:
        require(program)
        self.programs[name] = Program(program, *arguments, env=env, cwd=self.folder)
        return self.programs[name]

    def _ready(self, name: str, path: str) -> None:
        wait_until(lambda: get(self.url(name) + path)[0] == 200, 60, self.programs[name].output)


def likeness_of_files(root: Path) -> Path:
    """Files of our own that stand where the old stack's stand and do the same: recording rules
    over what is pushed, evaluated every second instead of every minute."""
    rules = [
        *(
            {"record": record, "expr": f'{raw}{{tier="{tier}"}}', "labels": {"manifest_tier": tier}}
            for tier in chain.TIERS
            for record, raw in chain.RECORDED.items()
        ),
        {"record": "talib_mfx_power_conversion", "expr": "max(chain_conversion)"},
        {"record": "manifest_geo_latitude", "expr": "chain_latitude"},
        {"record": "manifest_geo_longitude", "expr": "chain_longitude"},
        {"record": "manifest_geo_metadata", "expr": "chain_place"},
        {"record": "node_count", "expr": "count(up)"},
        {"record": "web_requests", "expr": "sum(avg_over_time(chain_requests[1m])) * 60"},
    ]
    groups = [{"name": "live", "concurrency": 4, "interval": "1s", "rules": rules}]
    command = ["--remoteWrite.disablePathAppend", "--rule=/etc/vmalert/live_rules.yml",
               "--remoteWrite.url=${TELEGRAF_URL}", "--datasource.url=${DATASOURCE_URL}",
               "--httpListenAddr=:8880"]  # fmt: skip
    scraped = [
        {
            "job_name": name,
            "honor_labels": True,
            "static_configs": [{"targets": [target]}],
        }
        for name, target in (("self", "localhost:9090"), ("pushed", "pushgateway_test:9091"))
    ]
    files = {
        "docker-compose.yml": yaml.safe_dump({"services": {"vmalert": {"command": command}}}),
        ".env": "DATASOURCE_URL=http://localhost:9090\nTELEGRAF_URL=http://localhost:9273/write\n",
        "vmalert/live_rules.yml": yaml.safe_dump({"groups": groups}),
        "tests/docker/prometheus-test.yml": yaml.safe_dump(
            {"global": {"scrape_interval": "1s"}, "scrape_configs": scraped}
        ),
        "tests/docker/fixtures/all.prom": chain.exposition(chain.FIRST),
        "caddy/Caddyfile": ":3000 {\n\tencode zstd gzip\n\treverse_proxy postgrest:3000\n}\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
