"""The doctor on what answers, or does not, where the two sides should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ingest.config import AuthSettings, Settings
from ingest.doctor import Finding, Level, Prescription, Site
from ingest.doctor.sides import (
    check_accounts,
    check_open_doors,
    check_read_side,
    check_write_side,
)
from ingest.writer.spool.file import FOLDER
from tests.support.processes import free_port

Pages = Mapping[str, tuple[int, str]]

METRICS = """\
# TYPE promgres_samples counter
promgres_samples_total{{tenant="default",result="received"}} {received}
promgres_samples_total{{tenant="default",result="written"}} 5
promgres_samples_total{{tenant="default",result="duplicate"}} 1
promgres_samples_total{{tenant="default",result="rejected"}} 1
promgres_samples_total{{tenant="default",result="dropped"}} 1
promgres_samples_total{{tenant="default",result="unavailable"}} 1
promgres_samples_total{{tenant="other",result="received"}} 0
# TYPE promgres_samples_in_flight gauge
promgres_samples_in_flight{{tenant="default"}} 2
# TYPE promgres_samples_spooled gauge
promgres_samples_spooled{{tenant="default"}} 3
"""


@contextmanager
def server(pages: Pages) -> Iterator[str]:
    """Something that answers with these pages, 404 elsewhere; its `HOST:PORT`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = pages.get(self.path, (404, "no such page"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


def site(address: str, data_dir: Path, embedded: bool = False) -> Site:
    settings = Settings(_env_file=None, listen=address, api_listen=address, data_dir=data_dir)
    return Site(settings=settings, prescribe=Prescription(embedded=embedded))


Check = Callable[[Site], list[Finding]]
each_side = pytest.mark.parametrize("check", [check_write_side, check_read_side])


@each_side
def test_a_side_is_ready(check: Check, tmp_path: Path) -> None:
    with server({"/-/ready": (200, "ready\n")}) as address:
        (found,) = check(site(address, tmp_path))
    assert (found.level, found.what) == (Level.OK, f"ready at {address}")


@each_side
def test_a_side_is_not_ready(check: Check, tmp_path: Path) -> None:
    with server({"/-/ready": (503, "the database is not reachable\n")}) as address:
        (found,) = check(site(address, tmp_path))
    assert found.level == Level.PROBLEM
    assert found.what == f"not ready at {address}: the database is not reachable"


@each_side
def test_something_else_answers(check: Check, tmp_path: Path) -> None:
    with server({}) as address:
        (found,) = check(site(address, tmp_path))
    assert found.level == Level.PROBLEM
    assert "something else answers" in found.what
    assert found.todo.endswith(f"curl -i http://{address}/-/ready")


@each_side
def test_nobody_answers(check: Check, tmp_path: Path) -> None:
    """Where it should be it is a problem, on another machine perhaps not."""
    address = f"127.0.0.1:{free_port()}"
    (elsewhere,) = check(site(address, tmp_path))
    assert (elsewhere.level, "connection refused" in elsewhere.what) == (Level.WARNING, True)
    (here,) = check(site(address, tmp_path, embedded=True))
    assert here.level == Level.PROBLEM
    assert here.todo.startswith("promgres up, or name it with")


def test_a_write_side_belongs_where_its_spool_is(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (found,) = check_write_side(site(f"127.0.0.1:{free_port()}", tmp_path))
    assert found.level == Level.PROBLEM
    assert found.todo.startswith("promgres ingest")


def test_accounts_add_up(tmp_path: Path) -> None:
    with server({"/metrics": (200, METRICS.format(received=14))}) as address:
        (found,) = check_accounts(site(address, tmp_path))
    assert (found.level, found.what) == (
        Level.OK,
        "add up: 14 samples since its start, 1 unavailable",
    )


def test_accounts_do_not_add_up(tmp_path: Path) -> None:
    with server({"/metrics": (200, METRICS.format(received=20))}) as address:
        (found,) = check_accounts(site(address, tmp_path))
    assert found.level == Level.PROBLEM
    assert found.what == ("20 samples received for tenant default, 6 more than are accounted for")
    assert found.todo.endswith(f"curl http://{address}/metrics")


@pytest.mark.parametrize("page", ["", "no metrics { at all", "up 1\n"])
def test_accounts_of_something_else_are_not_looked_at(tmp_path: Path, page: str) -> None:
    with server({"/metrics": (200, page)}) as address:
        assert check_accounts(site(address, tmp_path)) == []
    assert check_accounts(site(f"127.0.0.1:{free_port()}", tmp_path)) == []


@pytest.mark.parametrize(
    ("address", "level"),
    [
        ("127.0.0.1:9273", Level.OK),
        ("localhost:9273", Level.OK),
        ("[::1]:9273", Level.OK),
        ("0.0.0.0:9273", Level.WARNING),
        ("10.0.0.5:9273", Level.WARNING),
    ],
)
def test_strangers_can_write(tmp_path: Path, address: str, level: Level) -> None:
    (found,) = check_open_doors(site(address, tmp_path))
    assert found.level == level


def test_both_sides_are_doors_and_a_key_closes_them(tmp_path: Path) -> None:
    open_to_all = site("0.0.0.0:9273", tmp_path, embedded=True)
    (found,) = check_open_doors(open_to_all)
    assert "0.0.0.0:9273, 0.0.0.0:9273" in found.what  # the read side hands on what is pushed to it
    needs_keys = open_to_all.settings.model_copy(update={"auth": AuthSettings(required=True)})
    (found,) = check_open_doors(Site(settings=needs_keys))
    assert found.level == Level.OK
    assert "TLS" in found.what
