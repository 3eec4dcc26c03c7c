"""A spool looked at from outside: by `promgres spool` and the doctor."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ingest.cli.spool import command
from ingest.errors import OperatorError
from ingest.writer.spool.file import FILE, FOLDER, Entry, SpoolFile, read_rejected, read_standing


def promgres_spool(data_dir: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(command, [*arguments, "--data-dir", str(data_dir)])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def spool(tmp_path: Path) -> SpoolFile:
    """Two requests wait, one was written back but for three samples."""
    file = SpoolFile(tmp_path)
    received_ms = int(time.time() * 1000) - 65_000
    file.append([Entry(0, received_ms + n, 1, 1, 10, 0, b"x" * 600) for n in range(3)])
    first = file.first(1)
    file.remove(first, [(first[0], "too\nwide", 3)])
    return file


def test_it_is_read_while_in_use_and_afterwards(tmp_path: Path, spool: SpoolFile) -> None:
    used = read_standing(tmp_path)
    spool.close()
    assert used == read_standing(tmp_path)
    assert used is not None
    assert (used.requests, used.samples, used.payload_bytes, used.rejected) == (2, 20, 1200, 3)


def test_reading_does_not_keep_the_writer_out(tmp_path: Path, spool: SpoolFile) -> None:
    spool.close()
    read_standing(tmp_path)
    read_rejected(tmp_path)
    again = SpoolFile(tmp_path)
    assert again.standing().requests == 2
    again.close()


def test_status_in_words(tmp_path: Path, spool: SpoolFile) -> None:
    words = promgres_spool(tmp_path, "status").output
    assert "requests  2\nsamples   20\nbytes     1.2 KiB of 1.0 GiB (0.0%)\n" in words
    assert "oldest    1 min" in words
    assert "rejected  3 samples\n" in words
    assert "promgres spool rejected" in words


def test_status_by_tenant(tmp_path: Path) -> None:
    """The largest first; where there is one tenant only, the totals say all."""
    file = SpoolFile(tmp_path)
    now_ms = int(time.time() * 1000)
    file.append([Entry(0, now_ms, 1, 1, 5, 0, b"x" * 500)])
    assert "tenant" not in promgres_spool(tmp_path, "status").output
    file.append([Entry(0, now_ms - 65_000, 7, 1, 10, 0, b"x" * 750) for _ in range(2)])
    file.close()
    lines = promgres_spool(tmp_path, "status").output.splitlines()[-3:]
    assert lines[0].split() == ["tenant", "requests", "samples", "bytes", "share", "oldest"]
    *told, seconds, unit = lines[1].split()
    assert told == ["7", "2", "20", "1.5", "KiB", "75.0%", "1", "min"]
    assert (5 <= int(seconds) < 60, unit) == (True, "s")
    assert lines[2].startswith("     1         1            5       500 B   25.0%")


def test_status_as_json(tmp_path: Path, spool: SpoolFile) -> None:
    found = json.loads(promgres_spool(tmp_path, "status", "--json").output)
    assert 65 <= found.pop("oldest_seconds") < 120
    [tenant] = found.pop("tenants")
    assert 65 <= tenant.pop("oldest_seconds") < 120
    assert tenant == {"tenant_id": 1, "requests": 2, "samples": 20, "bytes": 1200}
    assert found == {
        "exists": True,
        "requests": 2,
        "samples": 20,
        "bytes": 1200,
        "limit_bytes": 2**30,
        "rejected": 3,
        "damaged_files": [],
    }


def test_rejected_in_words_and_as_json(tmp_path: Path, spool: SpoolFile) -> None:
    lines = promgres_spool(tmp_path, "rejected").output.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("       1        3  too wide")
    (found,) = json.loads(promgres_spool(tmp_path, "rejected", "--json").output)
    assert (found["samples"], found["reason"]) == (3, "too\nwide")
    assert found["received_ms"] < found["rejected_ms"]


def test_a_missing_spool_is_said_plainly(tmp_path: Path) -> None:
    for name in ("status", "rejected"):
        words = promgres_spool(tmp_path, name).output
        assert words.startswith(f"no spool in {tmp_path / FOLDER}: nothing was ever spooled")
    assert json.loads(promgres_spool(tmp_path, "status", "--json").output)["exists"] is False
    assert json.loads(promgres_spool(tmp_path, "rejected", "--json").output) == []
    assert not (tmp_path / FOLDER).exists()


def test_an_empty_spool(tmp_path: Path) -> None:
    SpoolFile(tmp_path).close()
    assert "oldest    -" in promgres_spool(tmp_path, "status").output
    assert "refused nothing" in promgres_spool(tmp_path, "rejected").output


def test_a_spool_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).write_bytes(b"x" * 5000)
    with pytest.raises(OperatorError, match="cannot be read: file is not a database"):
        read_standing(tmp_path)
