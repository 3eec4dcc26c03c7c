"""The spool on disk: one SQLite file, every append on disk before it counts.

SQLite's write-ahead log with `synchronous = FULL` is fsynced at each commit, and a record torn by a
crash is ignored when the file is opened again (sqlite.org/wal.html).
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, TypeVar

from ingest.errors import OperatorError
from ingest.model import Intake, TenantId
from ingest.sqlfiles import query
from ingest.storage.embedded.datadir import SPOOL
from ingest.writer.spool.damage import (
    Damage,
    Row,
    checksum_of,
    damage_in,
    finish,
    is_sound,
    mark,
    marked,
    renew,
    schema,
)

FOLDER = SPOOL
FILE = "spool.sqlite"
LOCK = "spool.lock"
READ_AT_ONCE_BYTES = 16 * 1024 * 1024
SHRINK_ABOVE_BYTES = 64 * 1024 * 1024

T = TypeVar("T")


class SpoolFormat(IntEnum):
    """What a payload is. These numbers are in files on disks: none changes."""

    REMOTE_WRITE_1 = 1
    REMOTE_WRITE_2 = 2
    RECORDS = 3
    """Measures and events as `wire.records.spooled` writes them."""


class Entry(NamedTuple):
    """A spooled request.

    Attributes:
        id: its place in the order; 0 before it is appended.
        received_ms: when it came.
        protocol: a `SpoolFormat`.
        samples: samples without a result when it was spooled.
        settled: samples of it that had their result before it was spooled.
        payload: the message as a snappy block.
        is_sound: False if the disk has changed it since it was written.
    """

    id: int
    received_ms: int
    tenant_id: TenantId
    protocol: int
    samples: int
    settled: int
    payload: bytes
    is_sound: bool = True

    @classmethod
    def of(cls, intake: Intake, received_ms: int, payload_is: SpoolFormat, payload: bytes) -> Entry:
        """A request that is not spooled yet, and of which nothing is accounted for."""
        return cls(0, received_ms, intake.tenant_id, payload_is, intake.storable, 0, payload)


class Share(NamedTuple):
    """What of one tenant is in the spool.

    Attributes:
        oldest_ms: when the oldest request came.
    """

    requests: int
    samples: int
    payload_bytes: int
    oldest_ms: int


class Standing(NamedTuple):
    """What is in the spool.

    Attributes:
        shares: by tenant; only of tenants of which something is.
        rejected: samples that the database refused when they were written back.
    """

    shares: dict[TenantId, Share]
    rejected: int

    @property
    def requests(self) -> int:
        """Of all tenants."""
        return sum(share.requests for share in self.shares.values())

    @property
    def samples(self) -> int:
        """Of all tenants."""
        return sum(share.samples for share in self.shares.values())

    @property
    def payload_bytes(self) -> int:
        """Of all tenants."""
        return sum(share.payload_bytes for share in self.shares.values())

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest request came; None if there is none."""
        return min((share.oldest_ms for share in self.shares.values()), default=None)


class Rejected(NamedTuple):
    """Samples of a spooled request that the database refused when they were written back.

    Attributes:
        rejected_ms: when it refused them.
        received_ms: when the request came.
        reason: what the database said.
    """

    rejected_ms: int
    received_ms: int
    tenant_id: TenantId
    samples: int
    reason: str


class SpoolFile:
    """Append, read in order, remove. Blocking; for one thread at a time.

    Args:
        data_dir: the spool's folder is made below it.

    Raises:
        OperatorError: the file is in use or cannot be read, or the folder cannot be made. One that
            is damaged is set aside.
    """

    def __init__(self, data_dir: Path) -> None:
        folder = data_dir / FOLDER
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(folder)
            self.path = folder / FILE
            self._connection = _open_or_renew(self.path)
        except (OSError, sqlite3.Error) as error:
            raise OperatorError(
                f"the spool in {folder} cannot be opened: {error}; give another --data-dir, or set"
                " spool.max_bytes to 0 to do without"
            ) from None

    def append(self, entries: Sequence[Entry]) -> None:
        """Put requests at the end, all of them safe on disk when this returns.

        Raises:
            sqlite3.Error: none of them is in.
        """
        with self._connection:
            self._connection.executemany(
                "INSERT INTO entry VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
                [(*entry[1:7], checksum_of(*entry[1:7])) for entry in entries],
            )

    def first(self, most: int, behind: int = 0, without: Collection[int] = ()) -> list[Entry]:
        """The oldest requests, at most so many, and of a bounded size together, behind so many that
        are passed over.

        Args:
            without: ids of requests that are left out.
        """
        rows = self._connection.execute(
            "SELECT * FROM entry WHERE id NOT IN (SELECT value FROM json_each(?))"
            " ORDER BY id LIMIT ? OFFSET ?",
            (json.dumps([*without]), most, behind),
        )
        entries: list[Entry] = []
        held_bytes = 0
        for row in rows:  # each is read only now
            entries.append(_entry(Row(*row)))
            held_bytes += len(entries[-1].payload)
            if held_bytes > READ_AT_ONCE_BYTES:
                break
        return entries

    def one(self, entry_id: int) -> list[Entry]:
        """A request by its id, if it is still there."""
        rows = self._connection.execute("SELECT * FROM entry WHERE id = ?", (entry_id,))
        return [_entry(Row(*row)) for row in rows]

    def remove(self, entries: Sequence[Entry], refused: Sequence[tuple[Entry, str, int]]) -> None:
        """Forget requests that are written back; keep what the database refused of them.

        Args:
            refused: request, reason and number of samples.
        """
        now_ms = int(time.time() * 1000)
        with self._connection:
            self._connection.executemany(
                "INSERT INTO rejected (rejected_ms, received_ms, tenant_id, samples, reason)"
                " VALUES (?, ?, ?, ?, ?)",
                [
                    (now_ms, entry.received_ms, entry.tenant_id, samples, reason)
                    for entry, reason, samples in refused
                ],
            )
            self._connection.executemany(
                "DELETE FROM entry WHERE id = ?", [(entry.id,) for entry in entries]
            )

    def set_aside(self, entry: Entry, samples: int, reason: str) -> None:
        """Let a request wait no longer: it goes to the list of what was refused, and is kept whole.

        Args:
            samples: of it, those that nothing had become of.
        """
        now_ms = int(time.time() * 1000)
        with self._connection:
            self._connection.execute(
                "INSERT INTO aside VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", (now_ms, *entry[1:7])
            )
            self._connection.execute(
                "INSERT INTO rejected (rejected_ms, received_ms, tenant_id, samples, reason)"
                " VALUES (?, ?, ?, ?, ?)",
                (now_ms, entry.received_ms, entry.tenant_id, samples, reason),
            )
            self._connection.execute("DELETE FROM entry WHERE id = ?", (entry.id,))

    def probe(self) -> None:
        """Write something and have it on disk, as `append` does.

        Raises:
            sqlite3.Error: a request could not be appended now.
        """
        with self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO probe (id, at_ms, filler) VALUES (1, ?, zeroblob(4096))",
                (int(time.time() * 1000),),
            )

    def note_damage(self, error: BaseException) -> bool:
        """Whether an error says that the file is damaged; if so the next `SpoolFile` renews it."""
        why = damage_in(error)
        if why is not None:
            mark(self.path.parent, why)
        return why is not None

    def standing(self) -> Standing:
        """What is in it now."""
        return _standing(self._connection)

    def shrink(self) -> None:
        """Give the disk back; only sensible when it is empty."""
        if self.path.stat().st_size > SHRINK_ABOVE_BYTES:
            self._connection.execute("VACUUM")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
        os.close(self._lock)


def read_standing(data_dir: Path) -> Standing | None:
    """What is in a spool that another process may be using; None if there is none.

    Raises:
        OperatorError: it belongs to somebody else, or is damaged.
    """
    return _read(data_dir, _standing)


def read_rejected(data_dir: Path) -> list[Rejected] | None:
    """What the database refused of a spool, oldest first; None if there is no spool.

    Raises:
        OperatorError: it belongs to somebody else, or is damaged.
    """
    return _read(data_dir, _rejected)


def _read(data_dir: Path, question: Callable[[sqlite3.Connection], T]) -> T | None:
    path = data_dir / FOLDER / FILE
    try:
        path.stat()
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return question(connection)
        finally:
            connection.close()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        why = "another user's; run this as the user of `promgres up` or `promgres ingest`"
    except (OSError, sqlite3.Error) as error:
        why = str(error)
    raise OperatorError(f"the spool in {path.parent} cannot be read: {why}")


def _standing(connection: sqlite3.Connection) -> Standing:
    rows = connection.execute(
        "SELECT tenant_id, count(*), sum(samples), sum(length(payload)), min(received_ms)"
        " FROM entry GROUP BY tenant_id ORDER BY tenant_id"
    )
    shares = {TenantId(tenant_id): Share(*found) for tenant_id, *found in rows}
    (rejected,) = connection.execute("SELECT coalesce(sum(samples), 0) FROM rejected").fetchone()
    return Standing(shares, rejected)


def _rejected(connection: sqlite3.Connection) -> list[Rejected]:
    rows = connection.execute(
        "SELECT rejected_ms, received_ms, tenant_id, samples, reason FROM rejected ORDER BY id"
    )
    return [Rejected(*row) for row in rows]


def _lock(folder: Path) -> int:
    """Hold the folder; the kernel lets go of it when this process ends, however it ends."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OSError("another promgres uses it") from None
    return descriptor


def _open_or_renew(path: Path) -> sqlite3.Connection:
    finish(path)
    why = marked(path.parent) if path.exists() else None
    if why is None:
        try:
            return _open(path)
        except (sqlite3.Error, Damage) as error:
            why = damage_in(error)
            if why is None:
                raise
    renew(path, why)
    return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(schema())
        if "checksum" not in {row[1] for row in connection.execute("PRAGMA table_info(entry)")}:
            connection.executescript(_sql("checksums"))
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    """Raise what says so if the file is damaged, as far as that shows without reading payloads."""
    if connection.execute(_sql("sane")).fetchone() != (0,):
        raise Damage("malformed")
    _standing(connection)


def _sql(name: str) -> str:
    return query(f"spool/{name}")


def _entry(row: Row) -> Entry:
    """An entry that can be handled, whatever it is."""
    sound = is_sound(row)
    payload = row.payload if isinstance(row.payload, bytes) else b""
    first, second, third, fourth, fifth = (e if type(e) is int else 0 for e in row[1:6])
    return Entry(row.id, first, TenantId(second), third, fourth, fifth, payload, sound)
