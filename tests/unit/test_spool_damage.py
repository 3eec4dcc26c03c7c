"""A spool whose file the disk has changed: nothing else is ever stored than what was written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from ingest.cli.spool import command
from ingest.config import ReceiverSettings, WriterSettings
from ingest.writer.spool.damage import MARK, set_aside
from ingest.writer.spool.file import FILE, FOLDER, Entry, SpoolFile, read_rejected
from tests.support.fake_database import FakeDatabase, Fault
from tests.support.memory_side import MemorySide
from tests.support.messages import payload, series
from tests.support.remote_write import snappy
from tests.support.virtual_loop import VirtualLoop

SEED = 9
RECEIVED_MS = 1_700_000_000_000
BEFORE_CHECKSUMS = """
CREATE TABLE entry (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    received_ms INTEGER NOT NULL,
    tenant_id   INTEGER NOT NULL,
    protocol    INTEGER NOT NULL,
    samples     INTEGER NOT NULL,
    settled     INTEGER NOT NULL,
    payload     BLOB NOT NULL
) STRICT;
CREATE TABLE rejected (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    rejected_ms INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    tenant_id   INTEGER NOT NULL,
    samples     INTEGER NOT NULL,
    reason      TEXT NOT NULL
) STRICT;
INSERT INTO entry (received_ms, tenant_id, protocol, samples, settled, payload)
VALUES (1700000000000, 1, 1, 7, 2, x'616263');
INSERT INTO rejected (rejected_ms, received_ms, tenant_id, samples, reason)
VALUES (1700000000001, 1700000000000, 1, 3, 'too wide');
"""


def filled(data_dir: Path) -> tuple[Path, list[Entry]]:
    """A spool with requests of all sizes, closed; its file and what is in it."""
    random = Random(SEED)
    spool = SpoolFile(data_dir)
    written = [
        Entry(0, RECEIVED_MS + n, 1 + n % 3, 1 + n % 2, n, n % 5, random.randbytes(size))
        for n, size in enumerate([0, 10, 700, 5000, 20_000] * 4)
    ]
    spool.append(written)
    spool.remove(spool.first(1), [(written[0], "too wide", 1)])
    spool.shrink()
    spool.close()
    return data_dir / FOLDER / FILE, written[1:]


def contents(data_dir: Path) -> list[Entry]:
    """What is in the spool, without ids."""
    spool = SpoolFile(data_dir)
    try:
        return [entry._replace(id=0) for entry in spool.first(1000)]
    except sqlite3.DatabaseError as error:  # it shows only where it is read
        if not spool.note_damage(error):
            raise
    finally:
        spool.close()
    return contents(data_dir)


def test_bits_that_flip_never_become_another_request(tmp_path: Path) -> None:
    """Anywhere in the file: what is read as sound is what was written, and it opens again."""
    path, written = filled(tmp_path)
    image = path.read_bytes()
    random = Random(SEED)
    damaged = renewed = 0
    for _ in range(300):
        flipped = bytearray(image)
        for _ in range(random.choice([1, 1, 1, 20])):
            flipped[random.randrange(len(image))] ^= 1 << random.randrange(8)
        path.write_bytes(flipped)
        found = contents(tmp_path)
        for entry in found:
            assert not entry.is_sound or entry in written
        damaged += not all(entry.is_sound for entry in found)
        for file in set_aside(path.parent):
            renewed += 1
            file.unlink()
    assert damaged > 100
    assert renewed > 5


@pytest.mark.parametrize("what", ["garbage", "torn", "empty header"])
def test_a_file_that_cannot_be_opened_is_set_aside(tmp_path: Path, what: str) -> None:
    path, _ = filled(tmp_path)
    whole = path.read_bytes()
    broken = {
        "garbage": Random(SEED).randbytes(50_000),
        "torn": whole[: len(whole) // 2],
        "empty header": bytes(100) + whole[100:],
    }[what]
    path.write_bytes(broken)
    spool = SpoolFile(tmp_path)
    spool.append([Entry(0, RECEIVED_MS, 1, 1, 1, 0, b"new")])
    assert spool.first(100)[-1].payload == b"new"
    spool.close()
    [file] = set_aside(path.parent)
    assert file.read_bytes()[:100] == broken[:100]
    assert str(file) in CliRunner().invoke(command, ["status", "--data-dir", str(tmp_path)]).output


def test_what_can_be_read_of_a_damaged_file_goes_on(tmp_path: Path) -> None:
    """In its order, with what was refused before."""
    path, written = filled(tmp_path)
    whole = bytearray(path.read_bytes())
    at = whole.index(written[8].payload[:200])
    whole[at : at + 200] = bytes(200)
    path.write_bytes(whole)
    (path.parent / MARK).write_text("malformed")
    found = contents(tmp_path)
    assert found == [entry for entry in written if entry != written[8]]
    assert not (path.parent / MARK).exists()
    assert [entry.reason for entry in read_rejected(tmp_path) or []] == ["too wide"]


def test_a_renewal_that_was_cut_short_is_ended(tmp_path: Path) -> None:
    path, written = filled(tmp_path)
    path.rename(path.with_name("new.sqlite"))
    assert contents(tmp_path) == written


def test_a_renewal_that_was_cut_short_does_not_meet_the_old_write_ahead_log(
    tmp_path: Path,
) -> None:
    """SQLite would lay the old file's pages over those of the new one."""
    path, written = filled(tmp_path)
    new = path.read_bytes()
    aside = path.with_name("set-aside-20260101T000000Z-1-malformed.sqlite")
    with closing(sqlite3.connect(path)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.execute("DELETE FROM entry")
        old.commit()
        log = Path(f"{path}-wal").read_bytes()
    path.rename(aside)
    path.with_name("new.sqlite").write_bytes(new)
    Path(f"{path}-wal").write_bytes(log)
    assert contents(tmp_path) == written
    assert Path(f"{aside}-wal").read_bytes() == log


def test_what_is_set_aside_never_meets_an_id_of_before(tmp_path: Path) -> None:
    """A new file counts its requests from the start, and keeps what was set aside."""
    for payload_ in (b"first", b"second"):
        spool = SpoolFile(tmp_path)
        spool.append([Entry(0, RECEIVED_MS, 1, 1, 1, 0, payload_)])
        [entry] = spool.first(1)
        spool.set_aside(entry, 1, "it fails")
        spool.close()
        (tmp_path / FOLDER / MARK).write_text("malformed")
    SpoolFile(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FOLDER / FILE)) as kept:
        assert kept.execute("SELECT payload FROM aside ORDER BY id").fetchall() == [
            (b"first",),
            (b"second",),
        ]


def test_an_entry_whose_columns_have_changed_can_be_set_aside(tmp_path: Path) -> None:
    """Or the drainer would try for ever, and nothing behind it be written."""
    spool = SpoolFile(tmp_path)
    spool.append([Entry(0, RECEIVED_MS, 1, 1, 1, 0, b"payload")])
    with closing(sqlite3.connect(spool.path, isolation_level=None)) as disk:
        disk.execute("PRAGMA writable_schema = ON")
        lax = "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = 'entry'"
        disk.execute(lax)
        (version,) = disk.execute("PRAGMA schema_version").fetchone()
        disk.execute(f"PRAGMA schema_version = {version + 1}")
    with closing(sqlite3.connect(spool.path, isolation_level=None)) as disk:
        disk.execute("UPDATE entry SET received_ms = 'x'")
    [entry] = spool.first(1)
    assert not entry.is_sound
    spool.set_aside(entry, 1, "its checksum is wrong")
    assert spool.first(1) == []
    spool.close()


def test_a_file_of_before_there_were_checksums(tmp_path: Path) -> None:
    """It is taken over where it is; what comes now has one."""
    path = tmp_path / FOLDER / FILE
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as old:
        old.executescript(BEFORE_CHECKSUMS)
    spool = SpoolFile(tmp_path)
    spool.append([Entry(0, RECEIVED_MS, 2, 2, 1, 0, b"new")])
    assert spool.first(10) == [
        Entry(1, RECEIVED_MS, 1, 1, 7, 2, b"abc"),
        Entry(2, RECEIVED_MS, 2, 2, 1, 0, b"new"),
    ]
    assert spool.standing().rejected == 3
    spool.close()
    assert not set_aside(path.parent)
    with closing(sqlite3.connect(path)) as connection:
        checksums = [row[0] for row in connection.execute("SELECT checksum FROM entry ORDER BY id")]
        assert checksums[0] is None
        assert isinstance(checksums[1], int)
        connection.execute("UPDATE entry SET samples = samples + 1")
        connection.commit()
    assert [entry.is_sound for entry in contents(tmp_path)] == [True, False]


def test_a_changed_request_is_refused_and_its_neighbours_are_written(tmp_path: Path) -> None:
    loop, database = VirtualLoop(), FakeDatabase(mood=Fault.AWAY)
    side = MemorySide(loop, database, tmp_path, 10**6, ReceiverSettings(), WriterSettings())
    try:
        for number in range(3):
            body = payload(series({"name": "m"}, (RECEIVED_MS + number, float(number))))
            answer = side.post(snappy(body))
            loop.advance(6)
            assert answer.result().status == 204
        with closing(sqlite3.connect(tmp_path / FOLDER / FILE)) as connection:
            [stored] = connection.execute("SELECT payload FROM entry WHERE id = 2").fetchone()
            changed = (
                stored.replace(b"\x3f", b"\x40") if b"\x3f" in stored else stored[:-1] + b"\x01"
            )
            connection.execute("UPDATE entry SET payload = ? WHERE id = 2", (changed,))
            connection.commit()
        database.mood = Fault.NONE
        loop.advance(30)
        assert sorted(database.rows.values()) == [0.0, 2.0]
        assert side.counts["rejected"] == 1
        side.assert_balanced()
        assert side.spool is not None
        assert side.spool.empty
        [refused] = read_rejected(tmp_path) or []
        assert "checksum" in refused.reason
    finally:
        side.abandon()
        loop.abandon()
