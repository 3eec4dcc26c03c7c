"""`promgres api` as a process: how it starts, how it refuses to, how it ends."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.support.databases import Database, blocking
from tests.support.processes import PROMGRES, Program, get, run, wait_until
from tests.support.read_side import read_side
from tests.support.readapi import SECRET, add_functions, login_url

LISTENS = r'"address": "([^"]+)".*"event": "listening"'
NOWHERE = "postgresql://promgres_api@127.0.0.1:1/nothing"


def environment(database_url: str, **more: str) -> dict[str, str]:
    return {
        "PROMGRES_API_DATABASE_URL": database_url,
        "PROMGRES_API_LISTEN": "127.0.0.1:0",
        "PROMGRES_LOG_FORMAT": "json",
        **more,
    }


def refused(**variables: str) -> str:
    """The one line of a start that must fail."""
    program = run(PROMGRES, "api", env=variables)
    assert (program.process.returncode, program.stdout) == (2, "")
    assert "Traceback" not in program.stderr
    return program.stderr.splitlines()[-1]


class TestStart:
    def test_it_says_once_where_it_listens(self, postgres_db: Database) -> None:
        with read_side(postgres_db) as side:
            assert get(f"{side.url}/-/healthy") == (200, "ok\n")
            assert get(f"{side.url}/-/ready") == (200, "ready\n")
            assert side.text("get_all_latest_common_metrics") == "[]"
        lines = [line for line in side.program.stderr.splitlines() if '"listening"' in line]
        assert len(lines) == 1
        assert SECRET not in side.program.output

    def test_an_empty_database_is_not_ready(self, empty_postgres_db: Database) -> None:
        with Program(PROMGRES, "api", env=environment(empty_postgres_db.url)) as program:
            url = f"http://{program.wait_for(LISTENS).group(1)}"
            assert get(f"{url}/-/ready") == (503, "The database is not migrated\n")
            status, body = get(f"{url}/rpc/who")
            assert (status, '"PGRST002"' in body) == (503, True)
            migrated = run(
                PROMGRES, "migrate", env={"PROMGRES_DATABASE_URL": empty_postgres_db.url}
            )
            assert migrated.process.returncode == 0
            assert get(f"{url}/-/ready") == (200, "ready\n")


class TestRefusals:
    def test_only_an_owner_s_url(self) -> None:
        line = refused(PROMGRES_DATABASE_URL="postgresql://owner:secret@db.example/metrics")
        assert "PROMGRES_API_PASSWORD" in line
        assert "secret" not in line

    def test_no_database_at_all(self, tmp_path: Path) -> None:
        assert "promgres up" in refused(PROMGRES_DATA_DIR=str(tmp_path / "none"))

    @pytest.mark.parametrize("url", ["http://db.example/x", "postgresql://host:port/x"])
    def test_a_url_that_is_none(self, url: str) -> None:
        line = refused(PROMGRES_API_DATABASE_URL=url, PROMGRES_API_LISTEN="127.0.0.1:0")
        assert line.startswith("promgres: ")

    def test_a_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            line = refused(**environment(NOWHERE, PROMGRES_API_LISTEN=address))
        assert line == (
            f"promgres: {address} is in use: stop the other program, or choose another --api-listen"
        )

    def test_an_address_that_is_not_ours(self) -> None:
        line = refused(**environment(NOWHERE, PROMGRES_API_LISTEN="192.0.2.1:3000"))
        assert "cannot listen on 192.0.2.1:3000" in line

    def test_nobody_at_the_database_s_address(self) -> None:
        quick = {"PROMGRES_DATABASE__CONNECT_TIMEOUT_SECONDS": "0.5"}
        line = refused(**environment(NOWHERE, **quick))
        assert line.startswith("promgres: cannot connect to the database: ")

    def test_a_short_secret(self) -> None:
        line = refused(**environment(NOWHERE, PROMGRES_JWT_SECRET="short"))
        assert "jwt_secret needs at least 32 bytes" in line


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_requests_under_way_are_answered(
        self, postgres_db: Database, number: signal.Signals
    ) -> None:
        blocking(add_functions(postgres_db))
        env = environment(login_url(postgres_db))
        with Program(PROMGRES, "api", env=env) as program:
            url = f"http://{program.wait_for(LISTENS).group(1)}"
            assert get(f"{url}/rpc/who")[0] == 200
            answers: list[int] = []
            asking = threading.Thread(
                target=lambda: answers.append(get(f"{url}/rpc/nap?p_seconds=1")[0])
            )
            asking.start()
            wait_until(lambda: 'promgres_api_connections{state="used"} 1' in _metrics(url))
            program.send(number)
            asking.join()
            assert answers == [204]
            assert program.wait() == 0
            assert get(f"{url}/-/healthy")[0] == 0

    def test_idle_connections_do_not_hold_it_up(self, postgres_db: Database) -> None:
        with read_side(postgres_db) as side:
            host, _, port = side.url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(port))):
                started = time.monotonic()
                assert side.program.stop() == 0
                assert time.monotonic() - started < 5
                side.program.send = lambda _: None  # type: ignore[method-assign]

    def test_it_ends_when_its_parent_is_gone(self, postgres_db: Database, tmp_path: Path) -> None:
        pipe = tmp_path / "lifeline"
        os.mkfifo(pipe)
        script = f'exec 7<>"{pipe}" 8<"{pipe}"; exec 7>&-; exec "{PROMGRES}" api'
        writer: list[int] = []
        opener = threading.Thread(target=lambda: writer.append(os.open(pipe, os.O_WRONLY)))
        opener.start()
        env = environment(login_url(postgres_db), PROMGRES_LIFELINE_FD="8")
        with Program("bash", "-c", script, env=env) as program:
            program.wait_for(LISTENS)
            opener.join()
            os.close(writer[0])
            assert program.wait() == 0


def _metrics(url: str) -> str:
    return get(f"{url}/metrics")[1]
