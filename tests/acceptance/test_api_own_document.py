"""The read port answers whatever its own OpenAPI document says it takes, as it says: with a status,
a media type and a body that stand there, and never with an error of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support.databases import Database
from tests.support.processes import run
from tests.support.read_side import read_side
from tests.support.remote_write import write_side

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = os.environ.get("PROMGRES_EXAMPLES", "2")
"""Requests for each of some eighty operations."""
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_schema_conformance",
)  # fmt: skip
"""Not among them: whether what breaks the schema is refused (a body that is no object means no
arguments, as with PostgREST), and what meets it taken (a text is no interval)."""


def test_schemathesis_finds_nothing(shared_postgres_db: Database, tmp_path: Path) -> None:
    with (
        write_side(shared_postgres_db) as writing,
        read_side(
            shared_postgres_db, PROMGRES_API__WRITE_URL=f"http://{writing.address}"
        ) as reading,
    ):
        done = run(
            SCHEMATHESIS, "run", f"{reading.url}/", "--max-examples", EXAMPLES,
            "--phases", "fuzzing", "--checks", ",".join(CHECKS), "--no-color",
            "--continue-on-failure", "--suppress-health-check", "all",
            "--request-timeout", "60", "--generation-database", "none",
            cwd=tmp_path, seconds=170,
        )  # fmt: skip
        assert done.process.returncode == 0, done.output[-6000:]
        assert "Traceback" not in reading.program.output
