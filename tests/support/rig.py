"""What fault tests hurt: a database, a write side that can be ended and started again, senders."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.config import StorageSettings
from ingest.migrate import migrate
from tests.support.blocks import Packer
from tests.support.crowd import Crowd, assert_stored
from tests.support.databases import Database, blocking
from tests.support.fragile_postgres import FragilePostgres
from tests.support.metrics import Metrics
from tests.support.processes import PROMGRES, Program, free_port, get, public_directory, wait_until

COMPLAINT = re.compile(r'Traceback|"level": "(error|critical)"')


class Rig:
    """A write side in front of a fragile database.

    Args:
        database_url: how the write side gets there, if not over the socket.
        environment: further settings of the write side.

    Attributes:
        packed: what was packed meanwhile, by step.
        expected: errors whose line has these words are no complaint.
    """

    def __init__(
        self, postgres: FragilePostgres, environment: dict[str, str], database_url: str | None
    ) -> None:
        self.postgres = postgres
        self.address = f"127.0.0.1:{free_port()}"
        self.expected = ""
        self.packed: Counter[str] = Counter()
        self.ended: list[Program] = []
        self._environment = {
            **postgres.database.environment(),
            "PROMGRES_LISTEN": self.address,
            "PROMGRES_LOG_FORMAT": "json",
            **environment,
        }
        if database_url:
            self._environment["PROMGRES_DATABASE_URL"] = database_url
        self.program: Program | None = None

    @property
    def data_dir(self) -> Path:
        """Where the write side has its spool."""
        return Path(self._environment["PROMGRES_DATA_DIR"])

    @property
    def url(self) -> str:
        """The endpoint of remote write."""
        return f"http://{self.address}/api/v1/write"

    @property
    def database(self) -> Database:
        """For the test itself."""
        return self.postgres.database

    @property
    def metrics(self) -> Metrics:
        """What the write side says of itself."""
        return Metrics(self.address)

    @property
    def output(self) -> str:
        """What all write sides said."""
        programs = [*self.ended, self.program] if self.program else self.ended
        return "".join(program.output for program in programs)

    def start(self) -> None:
        """Start the write side; it may wait for its database."""
        self.program = Program(PROMGRES, "ingest", env=self._environment)

    def wait_until_ready(self) -> None:
        """Until it takes requests."""
        wait_until(self._is_ready, 60, what="the write side is ready")

    def end(self, number: signal.Signals) -> None:
        """End the write side: SIGTERM, which it must obey in time, or SIGKILL."""
        assert self.program
        status = self.program.stop(number, seconds=45)
        assert status == (0 if number == signal.SIGTERM else -number), self.program.output
        self.ended.append(self.program)
        self.program = None

    def wait_until_drained(self, seconds: float = 90) -> None:
        """Until the spool is empty and nothing is in flight."""
        wait_until(lambda: self.metrics.at_rest, seconds, what="every sample is decided")

    def assert_nothing_is_lost(self, crowd: Crowd, since: int = 0) -> None:
        """Of the requests from number `since` on: stored as promised. Accounts balance."""
        self.wait_until_drained()
        self.metrics.assert_balanced()
        assert_stored(self.database, crowd.requests, since)

    def assert_no_complaints(self) -> None:
        """No write side met a defect of ours."""
        complaints = [line for line in self.output.splitlines() if COMPLAINT.search(line)]
        unexpected = [line for line in complaints if self.expected not in line or not self.expected]
        assert not unexpected, "\n".join(unexpected)

    def _is_ready(self) -> bool:
        assert self.program
        if self.program.process.poll() is not None:
            raise AssertionError(self.program.output)
        return get(f"http://{self.address}/-/ready")[0] == 200


@contextmanager
def running_rig(
    postgres: FragilePostgres, database_url: str | None = None, **environment: str
) -> Iterator[Rig]:
    """A migrated database, in which samples are packed at random moments, and a write side that is
    ready. At the end it obeys SIGTERM, and has not met a defect."""
    settings = postgres.database.settings(storage=StorageSettings(pack=True))
    blocking(migrate(postgres.database.url, settings))
    with public_directory() as directory, Packer(postgres.database, seed=1) as packer:
        rig = Rig(postgres, {"PROMGRES_DATA_DIR": str(directory), **environment}, database_url)
        rig.packed = packer.done
        rig.start()
        try:
            rig.wait_until_ready()
            yield rig
            rig.end(signal.SIGTERM)
            rig.assert_no_complaints()
        finally:
            if rig.program:
                rig.program.kill()
