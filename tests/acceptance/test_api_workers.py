"""Several processes of the read side on one port: shared connections, all their metrics in one
place, started again when they die, and gone with the first one."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator

import psutil
import pytest

from tests.support.databases import Database, blocking, execute
from tests.support.processes import PROMGRES, Program, free_port, get, run, wait_until
from tests.support.read_side import ReadSide, read_side

WORKERS = 3
REQUESTS = re.compile(
    r'promgres_api_requests_total\{function="f",status="200",worker="(\d)"\} (\d+)\.0'
)
CREATE = (
    "CREATE FUNCTION api.f() RETURNS int LANGUAGE sql STABLE AS 'SELECT pg_backend_pid()'",
    "GRANT EXECUTE ON FUNCTION api.f() TO web_anon",
)


@pytest.fixture
def side(shared_postgres_db: Database) -> Iterator[ReadSide]:
    with read_side(shared_postgres_db, PROMGRES_API__WORKERS=str(WORKERS)) as running:
        wait_until(lambda: len(workers(running)) == WORKERS, 60)
        wait_until(lambda: len(answering(running)) == WORKERS, 60)
        yield running


def workers(side: ReadSide) -> list[psutil.Process]:
    """The processes that serve: each has a nursery as its child."""
    return psutil.Process(side.program.pid).children()


def answering(side: ReadSide) -> set[str]:
    """Workers whose metrics are shown."""
    _, text = get(f"{side.url}/metrics")
    return set(re.findall(r'process_start_time_seconds\{worker="(\d)"\}', text))


def test_all_serve_and_one_page_counts_them(shared_postgres_db: Database, side: ReadSide) -> None:
    blocking(execute(shared_postgres_db.url, *CREATE))
    for _ in range(60):  # each on a connection of its own
        assert get(f"{side.url}/rpc/f")[0] == 200
    _, text = get(f"{side.url}/metrics")
    counted = {worker: int(number) for worker, number in REQUESTS.findall(text)}
    assert sum(counted.values()) == 60
    assert len(counted) == WORKERS, counted  # of 60, all but never fewer than a dozen each
    assert text.count("# TYPE promgres_api_requests_total counter") == 1


def test_a_worker_that_dies_is_started_again(side: ReadSide) -> None:
    before = workers(side)
    os.kill(before[0].pid, signal.SIGKILL)
    side.program.wait_for("a worker ended, starting it again")
    wait_until(lambda: len(workers(side)) == WORKERS and before[0] not in workers(side), 60)
    wait_until(lambda: len(answering(side)) == WORKERS, 60)
    for _ in range(20):
        assert get(f"{side.url}/-/ready")[0] == 200


def test_workers_end_with_the_first_process(shared_postgres_db: Database) -> None:
    env = {
        **shared_postgres_db.environment(),
        "PROMGRES_API_LISTEN": "127.0.0.1:0",
        "PROMGRES_API__WORKERS": "2",
        "PROMGRES_LOG_FORMAT": "json",
    }
    with Program(PROMGRES, "api", env=env) as program:
        program.wait_for('"event": "listening"')
        wait_until(lambda: len(psutil.Process(program.pid).children()) == 2, 60)
        family = psutil.Process(program.pid).children(recursive=True)
        os.kill(program.pid, signal.SIGKILL)
        wait_until(lambda: not any(each.is_running() for each in family), 60)


@pytest.mark.parametrize("what", ["port", "database"])
def test_what_is_in_the_way_is_one_line_and_status_2(
    shared_postgres_db: Database, what: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if what == "port" else free_port()
        env = {
            **shared_postgres_db.environment(),
            "PROMGRES_API_LISTEN": f"127.0.0.1:{port}",
            "PROMGRES_API__WORKERS": "2",
        }
        if what == "database":
            env["PROMGRES_API_DATABASE_URL"] = f"postgresql://promgres_api@127.0.0.1:{port}/x"
            env["PROMGRES_DATABASE__CONNECT_TIMEOUT_SECONDS"] = "1"
        done = run(PROMGRES, "api", env=env)
    assert done.process.returncode == 2, done.output
    assert [line for line in done.output.splitlines() if line.startswith("promgres: ")]
    assert "Traceback" not in done.output
