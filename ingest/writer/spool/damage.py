"""What is done about a spool file that the disk has changed: it is set aside, whole, and what can
be read of it goes on in a new one."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from struct import Struct
from typing import NamedTuple

import xxhash

from ingest.logs import get_logger
from ingest.model import TenantId
from ingest.sqlfiles import query

log = get_logger("spool")

ASIDE = "set-aside-"
"""How the names of such files begin; when and why follow."""
MARK = "damaged"
"""A file beside the spool's: the process that met the damage ended, and the next one mends it."""
NEW = "new.sqlite"
"""What is being saved; it becomes the spool's file once it is whole."""
BESIDE = ("", "-wal", "-shm")
"""The files of one SQLite database."""

COLUMNS = "id, received_ms, tenant_id, protocol, samples, settled, payload"

CORRUPT, NOT_A_DATABASE, NO_SUCH_COLUMN = 11, 26, 1
REASONS = {CORRUPT: "malformed", NOT_A_DATABASE: "not-a-database", NO_SUCH_COLUMN: "malformed"}
"""SQLite's primary result codes that say that the file is not what we wrote, in a word each."""

_NUMBERS = Struct("<5q")


class Damage(Exception):
    """The file is not what we wrote; the message is one word."""


class Row(NamedTuple):
    """An entry as it is read; whatever the disk has made of it."""

    id: int
    received_ms: int
    tenant_id: TenantId
    protocol: int
    samples: int
    settled: int
    payload: bytes
    checksum: int | None


def checksum_of(
    received_ms: int, tenant_id: TenantId, protocol: int, samples: int, settled: int, payload: bytes
) -> int:
    """XXH3 over an entry, as a number that SQLite can hold."""
    digest = xxhash.xxh3_64(_NUMBERS.pack(received_ms, tenant_id, protocol, samples, settled))
    digest.update(payload)
    return digest.intdigest() - (1 << 63)


def is_sound(row: Row) -> bool:
    """Whether an entry is as it was written. Those of before there were checksums have none."""
    numbers = row[1:6]
    if not all(type(each) is int for each in numbers) or not isinstance(row.payload, bytes):
        return False
    return row.checksum is None or row.checksum == checksum_of(*row[1:7])


def damage_in(error: BaseException) -> str | None:
    """The word for it if an error says that the file is damaged."""
    if isinstance(error, Damage):
        return str(error)
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else REASONS.get(code & 0xFF)


def mark(folder: Path, why: str) -> None:
    """Have the next process mend it."""
    with suppress(OSError):
        (folder / MARK).write_text(why, encoding="utf-8")


def marked(folder: Path) -> str | None:
    """Why an earlier process wants it mended."""
    try:
        return (folder / MARK).read_text(encoding="utf-8") or "malformed"
    except OSError:
        return None


def renew(path: Path, why: str) -> None:
    """Put a new file in the place of a damaged one, with all that can be read of that. Whatever
    kills us meanwhile, nothing that could be read is lost.

    Raises:
        OSError, sqlite3.Error: the disk does not take the new one; the old one is where it was.
    """
    new = path.with_name(NEW)
    _remove(new)
    with closing(sqlite3.connect(new)) as target:
        target.executescript(schema())
        saved, lost = _save(path, target)
        target.commit()
    aside = _name_for(path, why)
    for suffix in BESIDE:
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    new.rename(path)
    (path.parent / MARK).unlink(missing_ok=True)
    log.error(
        "the spool was damaged: its file is set aside, what could be read of it goes on",
        file=str(aside),
        reason=why,
        requests_saved=saved,
        requests_damaged=lost,
    )


def finish(path: Path) -> None:
    """End a `renew` that was cut short while it put the new file in the old one's place."""
    new = path.with_name(NEW)
    if not new.exists() or path.exists():
        return
    aside = [_name_for(path, "malformed"), *set_aside(path.parent)][-1]
    for suffix in BESIDE[1:]:  # of the old file: SQLite would take them for the new one's
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    new.rename(path)
    (path.parent / MARK).unlink(missing_ok=True)


def set_aside(folder: Path) -> list[Path]:
    """Damaged files that were set aside, the oldest first."""
    with suppress(OSError):
        return sorted(each for each in folder.glob(f"{ASIDE}*.sqlite") if each.is_file())
    return []


def schema() -> str:
    """The tables of a spool's file."""
    return query("spool/spool")


def _save(path: Path, target: sqlite3.Connection) -> tuple[int, int]:
    """Copy what can be read; how many requests are copied, and how many are seen to be damaged."""
    saved = lost = 0
    with closing(sqlite3.connect(path)) as source:
        for row in _rows(source):
            if row is not None and is_sound(row):
                target.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                saved += 1
            else:
                lost += 1
    for table in ("rejected", "aside"):
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as source:
            for row in source.execute(f"SELECT * FROM {table}"):  # noqa: S608
                marks = ", ".join("?" * len(row))
                target.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608
    return saved, lost


def _rows(source: sqlite3.Connection) -> Iterator[Row | None]:
    """Entry by entry, from either end: one that cannot be read hides none of the others."""
    checksum = "NULL"
    with suppress(sqlite3.Error):
        if "checksum" in {row[1] for row in source.execute("PRAGMA table_info(entry)")}:
            checksum = "checksum"
    seen: set[int] = set()
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.Error):
            for (entry_id,) in source.execute(f"SELECT id FROM entry ORDER BY id {order}"):  # noqa: S608
                if entry_id in seen:
                    return
                seen.add(entry_id)
                yield _row(source, entry_id, checksum)


def _row(source: sqlite3.Connection, entry_id: int, checksum: str) -> Row | None:
    query = f"SELECT {COLUMNS}, {checksum} FROM entry WHERE id = ?"  # noqa: S608
    with suppress(sqlite3.Error):
        for row in source.execute(query, (entry_id,)):
            return Row(*row)
    return None


def _name_for(path: Path, why: str) -> Path:
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return path.with_name(f"{ASIDE}{moment}-{os.getpid()}-{why}.sqlite")


def _remove(path: Path) -> None:
    for suffix in (*BESIDE, "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
