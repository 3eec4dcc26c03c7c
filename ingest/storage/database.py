"""What the write side asks of the database: ids for series, COPY into staging, emptying staging."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg

from ingest.copy_format import (
    BIGINT,
    HEADER,
    INTEGER,
    JSONB,
    REPEATED_TEXT,
    TRAILER,
    UUID,
    encode_rows,
    joined,
)
from ingest.errors import Unavailable
from ingest.logs import get_logger
from ingest.model import Int64s, Labels, Series, SeriesId, TenantId, labels_json
from ingest.series.marks import Late, LateState
from ingest.sqlfiles import query
from ingest.storage.life import ENDED, End, Life, LifeEnded
from ingest.storage.pgerrors import CONNECTION_ERRORS, blames_request, is_missing_partition
from ingest.storage.pool import (
    AnyConnection,
    Pool,
    begin_writing,
    borrow,
    copy_within,
    roll_back,
)
from ingest.storage.session import READ_COMMITTED, STRAIGHT, begin
from ingest.stores import STORES

log = get_logger("storage")

CHUNK_BYTES = 256 * 1024
RESOLVE_AT_ONCE = 10_000
RESOLVE_BYTES = 8 * 1024 * 1024
"""Labels, as JSON, of one message. PostgreSQL takes a message of 1 GB at most, and memory for it;
one series has `wire.validate.LONGEST_LABELS_BYTES` at most, which JSON makes six times as long."""
LAST_WORDS_SECONDS = 5
"""What a connection may still take to cancel and roll back after a command's time is over."""

READY_SECONDS = 1.5
"""How long a readiness probe may take: its caller has a short timeout of its own."""

ROWS_AT_ONCE = 500
"""Series that are encoded at once, between which others have their turn."""
RESERVE = "SELECT * FROM internal.reserve_series($1, $2, $3, $4, $5)"
COPY_SERIES = (
    "COPY internal.series (series_id, metric_id, tenant_id, target, name, schema, labels, identity)"
    " FROM STDIN (FORMAT binary)"
)
NEEDS_RESOLVING = (
    asyncpg.UniqueViolationError,  # somebody else creates one of them at this moment
    asyncpg.InsufficientPrivilegeError,  # a login that may only call functions
)
"""Refusals of series that are copied, which `internal.resolve_series` knows to handle."""

NEEDS_STAGING = (
    asyncpg.UniqueViolationError,  # a duplicate
    asyncpg.ConfigurationLimitExceededError,  # compressed chunks; the trigger lifts the limit
    asyncpg.FeatureNotSupportedError,  # compressed chunks, otherwise
    asyncpg.InsufficientPrivilegeError,  # a login that may write into staging only
    asyncpg.SerializationError,  # a partition that is closed, see engines/postgres/blocks/close.sql
)
"""Refusals of rows that go straight into the sample table, which the trigger knows to handle."""

DURABLE = "set_config('synchronous_commit', 'on', true)"
"""Said once more after a COPY: a trigger may have turned it off. The commit waits for the disk."""
BEGIN_STRAIGHT = begin(READ_COMMITTED, STRAIGHT, version=0)
"""Of a transaction that copies rows past staging."""
LIKELY = "SET LOCAL promgres.duplicates = 'likely'; "
MARKS_LATER = "SET LOCAL promgres.marks = 'later'; "
"""Of a transaction that ends with marks: staging makes none."""
NO_MEMORY = End("", uuid4())
"""How it ends where nothing is remembered."""
NEW_ROWS = f"SELECT nullif(current_setting('promgres.new_rows', true), '')::bigint, {DURABLE}"
"""NULL where no trigger said so: a setting of an earlier transaction is the empty text."""

DATABASE_ERRORS = (asyncpg.PostgresError, *CONNECTION_ERRORS)
"""Everything that a call below may raise when the database is at fault."""


class Touched(NamedTuple):
    """What of a batch rollups have to know.

    Attributes:
        minutes_ms: starts of the minutes with current samples, of whatever metrics.
        late: what has to be marked of late ones.
    """

    minutes_ms: Sequence[int]
    late: Late | None = None


class Sought(NamedTuple):
    """What blocks must not have: any sample of these series from the oldest to the newest time.

    Attributes:
        series_ids: in any order.
    """

    series_ids: list[int]
    oldest_ms: int
    newest_ms: int


class Stored(NamedTuple):
    """What came of a transaction.

    Attributes:
        new_rows: of each payload that went through staging.
        is_covered: a mark says that it is stored: it may be remembered.
    """

    new_rows: list[int]
    is_covered: bool


class Database:
    """The write side's view of one database.

    Every writing transaction sets `synchronous_commit = on` for itself, whatever server, role or
    pooler say: an acknowledged sample is on disk.

    Args:
        life: of the data that ids are remembered of; None where none is.
    """

    _life: Life | None = None

    def __init__(
        self, pool: Pool, command_timeout_seconds: float = 60, life: Life | None = None
    ) -> None:
        self.pool = pool
        self._life = life
        self._timeout = command_timeout_seconds
        self._most_seconds = command_timeout_seconds + LAST_WORDS_SECONDS
        self._lost_backends: set[int] = set()

    async def resolve_series(self, series: Sequence[Series]) -> dict[bytes, SeriesId]:
        """Ids by identity, committed; missing series are created.

        Raises:
            DATABASE_ERRORS: not all of them are known to exist.
        """
        ids: dict[bytes, SeriesId] = {}
        wanted = sorted({one.identity: one for one in series}.values())
        for first in range(0, len(wanted), RESOLVE_AT_ONCE):
            few = wanted[first : first + RESOLVE_AT_ONCE]
            try:
                ids.update(await self._find_or_copy(few))
            except NEEDS_RESOLVING:
                for fewer, labels in _messages(few):
                    ids.update(await self._resolve(fewer, labels))
        return ids

    def end(self, remembers: bool = False) -> End:
        """How a transaction ends that relies on what is remembered at this moment.

        Args:
            remembers: something more is, once it is committed.
        """
        return self._life.end(remembers) if self._life is not None else NO_MEMORY

    async def _find_or_copy(self, series: Sequence[Series]) -> dict[bytes, SeriesId]:
        """Ids of series; those that are missing are copied under ids that are reserved for them.

        Args:
            series: sorted by identity, as everybody stores them.
        """
        metrics = list(dict.fromkeys([one[1:5] for one in series]))  # tenant to name
        identities = [one.identity for one in series]
        end = self.end(remembers=True)
        async with self._transaction(end) as connection:
            await connection.execute(begin_writing(connection), timeout=self._timeout)
            [(found, reserved, metric_ids)] = await connection.fetch(
                RESERVE, identities, *zip(*metrics, strict=True), timeout=self._timeout
            )
            ids = iter(reserved or ())
            known = [next(ids) if each is None else each for each in found]
            new = [each for each, one in zip(series, found, strict=True) if one is None]
            if reserved is None:
                await connection.execute(_commit(end), timeout=self._timeout)
            else:
                rows = _series_rows(new, reserved, dict(zip(metrics, metric_ids, strict=True)))
                await copy_within(connection, f"{COPY_SERIES}; {_commit(end)}", rows, self._timeout)
            is_covered = self._committed(end)
        self._check_covered(is_covered)
        return dict(zip(identities, known, strict=True))

    async def find_series(self, identities: Collection[bytes]) -> dict[bytes, SeriesId]:
        """Ids of those that exist, by identity.

        Raises:
            DATABASE_ERRORS: the database is away or unwell.
        """
        rows = await self._look_up(
            "SELECT identity, series_id FROM internal.series WHERE identity = ANY($1)", identities
        )
        return {row["identity"]: row["series_id"] for row in rows}

    async def count_series(self, tenant_id: TenantId, most: int) -> int:
        """How many series a tenant has, counted up to `most`.

        Raises:
            DATABASE_ERRORS: the database is away or unwell.
        """
        async with borrow(self.pool, self._most_seconds) as connection:
            count: int = await connection.fetchval(
                "SELECT internal.count_series($1, $2)", tenant_id, most, timeout=self._timeout
            )
        return count

    async def _resolve(
        self, series: Sequence[Series], labels: Sequence[str]
    ) -> dict[bytes, SeriesId]:
        columns = (
            [one.identity for one in series],
            [one.tenant_id for one in series],
            [one.target for one in series],
            [one.name for one in series],
            [one.schema for one in series],
            labels,
        )
        end = self.end(remembers=True)
        async with self._transaction(end) as connection:
            await connection.execute(begin_writing(connection), timeout=self._timeout)
            rows = await connection.fetch(
                "SELECT identity, series_id FROM internal.resolve_series($1, $2, $3, $4, $5, $6)",
                *columns,
                timeout=self._timeout,
            )
            await connection.execute(_commit(end), timeout=self._timeout)
            is_covered = self._committed(end)
        self._check_covered(is_covered)
        return {row["identity"]: row["series_id"] for row in rows}

    async def labels_of(self, series_ids: Collection[SeriesId]) -> dict[SeriesId, Labels]:
        """Labels as sent (without a value label that was taken) by id; unknown ids are left out.

        Raises:
            DATABASE_ERRORS: the database is away or unwell.
        """
        rows = await self._look_up(
            "SELECT series_id, labels FROM internal.series WHERE series_id = ANY($1)", series_ids
        )
        return {row["series_id"]: tuple(sorted(json.loads(row["labels"]).items())) for row in rows}

    async def late_state(self, target: str, series_ids: Int64s) -> LateState:
        """What has to be known before late samples of a target are stored, and the metrics of these
        series.

        Raises:
            LifeEnded: one of them is gone. By now the cache has forgotten it.
            DATABASE_ERRORS: the database is away or unwell.
        """
        statement = "SELECT taken, metrics, hours_before FROM internal.late_state($1, $2)"
        async with borrow(self.pool, self._most_seconds) as connection:
            row = await connection.fetchrow(
                statement, target, series_ids.tolist(), timeout=self._timeout
            )
            assert row is not None
            metric_ids = row["metrics"] or []
            if None in metric_ids:  # not to be remembered: its number may be given again
                if self._life is not None:
                    await self._life.renew(connection)
                raise LifeEnded("series were removed that late samples are of")
        return LateState(row["taken"], metric_ids, row["hours_before"])

    async def _look_up(self, query: str, keys: Collection[object]) -> list[asyncpg.Record]:
        async with borrow(self.pool, self._most_seconds) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, keys, timeout=self._timeout)
        return rows

    async def copy_to_staging(
        self,
        store: str,
        payloads: Sequence[bytes],
        expect_duplicates: bool,
        sent: Callable[[], None] | None,
        end: End | None = None,
        touched: Touched | None = None,
    ) -> Stored:
        """COPY binary payloads into the store's staging table, all in one transaction.

        Args:
            store: the name of one.
            payloads: complete binary COPY streams, one a statement.
            expect_duplicates: spares the trigger the attempt without ON CONFLICT.
            sent: called when all rows are on their way to the server, which still has work to do;
                None where no one waits for that.
            end: as `end()` said when the ids in them were looked at.
            touched: what of samples rollups have to know, if any are new; None where their trigger
                finds out, which takes longer.

        Returns:
            How many rows of each payload were new.

        Raises:
            DATABASE_ERRORS: nothing of it is stored, or the outcome of the commit is unknown.
        """
        end = end or self.end()
        async with self._transaction(end) as connection:
            before = begin_writing(connection) + "; " + MARKS_LATER * (touched is not None)
            counts = await self._stage(
                connection, store, payloads, before + LIKELY * expect_duplicates, sent
            )
            commit = _commit(end, store, touched if any(counts) else None, is_staged=True)
            await connection.execute(commit, timeout=self._timeout)
            is_covered = self._committed(end)
        return Stored(counts, is_covered)

    async def _stage(
        self,
        connection: AnyConnection,
        store: str,
        payloads: Sequence[bytes],
        before: str,
        sent: Callable[[], None] | None,
    ) -> list[int]:
        """COPY into staging, within a transaction; how many rows of each payload were new."""
        into = STORES[store]
        counts = []
        for payload in payloads:
            source = _source(payload, sent if payload is payloads[-1] else None)
            await copy_within(connection, before + into.copy_staging, source, self._timeout)
            before = ""
            row = await connection.fetchrow(NEW_ROWS, timeout=self._timeout)
            if row is None or row[0] is None:
                raise asyncpg.ObjectNotInPrerequisiteStateError(
                    f"{into.staging} moves no rows: is its trigger disabled?"
                )
            counts.append(row[0])
        return counts

    async def append_samples(
        self,
        target: str,
        table: str,
        payloads: Sequence[bytes],
        touched: Touched,
        sent: Callable[[], None] | None,
        end: End | None = None,
        doubtful: Sequence[bytes] = (),
        sought: Sought | None = None,
    ) -> Stored | None:
        """COPY rows that are probably all new straight into the target's sample table.

        Args:
            table: the engine's, see `Engine.straight_into`.
            touched: what of it rollups have to know.
            sent: called when all rows are on their way to the server, which still has work to do;
                None where no one waits for that.
            end: as `end()` said when the ids in them were looked at.
            doubtful: further payloads, for the staging table, in the same transaction.
            sought: what blocks are asked for after the COPY; None if they hold nothing so new.

        Returns:
            How many rows of each doubtful payload were new, if all of it is stored. If not, None:
            nothing is, and staging is the way of all.

        Raises:
            DATABASE_ERRORS: nothing of it is stored, or the outcome of the commit is unknown.
        """
        # One message: the server has the rows, the marks and the commit before it answers.
        end = end or self.end()
        commit = _commit(end, target, touched)
        statements = _copy_straight(target, table)
        if sought is not None:
            statements += _refuse_packed(target, sought)
        counts: list[int] = []
        try:
            async with self._transaction(end) as connection:
                rows = payloads[0] if len(payloads) == 1 else joined(payloads)
                if doubtful:
                    statements = f"{begin_writing(connection)}; {statements}"
                    await copy_within(connection, statements, _source(rows, None), self._timeout)
                    before = MARKS_LATER + LIKELY
                    counts = await self._stage(connection, target, doubtful, before, sent)
                    await connection.execute(commit, timeout=self._timeout)
                else:
                    statements = f"{BEGIN_STRAIGHT}; {statements}{commit}"
                    await copy_within(connection, statements, _source(rows, sent), self._timeout)
                is_covered = self._committed(end)
        except NEEDS_STAGING:
            return None
        except asyncpg.CheckViolationError as error:
            if is_missing_partition(error):  # it may be packed and gone
                return None
            raise
        return Stored(counts, is_covered)

    async def affirm(self, end: End) -> None:
        """A transaction that does nothing but end so: what is remembered holds at this moment.

        Raises:
            LifeEnded: it does not.
            DATABASE_ERRORS: nobody knows.
        """
        async with self._transaction(end) as connection:
            statements = f"{BEGIN_STRAIGHT}; {end.sql}COMMIT"
            await connection.execute(statements, timeout=self._timeout)

    @asynccontextmanager
    async def _transaction(self, end: End = NO_MEMORY) -> AsyncIterator[AnyConnection]:
        """A connection for a transaction that the block begins, and ends so: ROLLBACK after an
        error. If the connection is lost, its backend is remembered, to be ended."""
        async with borrow(self.pool, self._most_seconds) as connection:
            if self._lost_backends:
                await self._end_lost_backends(connection)
            backend = connection.get_server_pid()
            try:
                if self._life is not None and not self._life.is_known:
                    await self._life.begin(connection)
                    raise LifeEnded("it begins: how to end was asked before")
                try:
                    yield connection
                except BaseException as error:
                    if self._life is not None:
                        self._life.failed(end, error)
                    await roll_back(connection)
                    raise
            except asyncpg.PostgresError as error:
                if error.sqlstate != ENDED or self._life is None:
                    raise
                await self._life.renew(connection)
                raise LifeEnded("what was remembered was removed") from error
            finally:
                if _is_lost(connection):
                    self._lost_backends.add(backend)

    def _committed(self, end: End) -> bool:
        """At once after the commit, before anything else may happen."""
        return self._life is not None and self._life.committed(end)

    def _check_covered(self, is_covered: bool) -> None:
        """Of what is to be remembered.

        Raises:
            LifeEnded: marks are counted anew since it was asked for; it has to be asked for again.
        """
        if self._life is not None and not is_covered:
            raise LifeEnded("its mark is not counted")

    async def _end_lost_backends(self, connection: AnyConnection) -> None:
        """The server may not know that a connection is gone: its backend waits for the rest of a
        COPY, maybe for hours, and the next attempt at the same rows waits for that backend."""
        pids = list(self._lost_backends)
        ended = await connection.fetchval(
            "SELECT internal.end_lost_backends($1)", pids, timeout=self._timeout
        )
        self._lost_backends.difference_update(pids)
        log.info("lost backends ended", ended=ended)

    async def staging_bytes(self) -> dict[str, int]:
        """Sizes of the staging tables, by store; asked at once, since idle sides ask, too."""
        tables = {store.staging: name for name, store in STORES.items()}
        async with borrow(self.pool, self._most_seconds) as connection:
            found = await connection.fetch(
                "SELECT name, pg_table_size(to_regclass(name)) FROM unnest($1::text[]) AS t (name)",
                list(tables),
            )
        return {tables[name]: size for name, size in found}

    async def empty_staging(self, store: str, lock_timeout_ms: int) -> bool:
        """TRUNCATE the staging table, unless others hold it for longer than the lock timeout."""
        beginning = f"SET LOCAL lock_timeout = {int(lock_timeout_ms)}"
        try:
            async with self._transaction() as connection:
                await connection.execute(f"{begin_writing(connection)}; {beginning}")
                await connection.execute(f"TRUNCATE {STORES[store].staging}; COMMIT")
        except asyncpg.LockNotAvailableError:
            return False
        return True

    async def ready(self, is_doubtful: bool = False) -> bool:
        """Whether a batch could be committed now. Asks it of the database, and writes nothing.

        Args:
            is_doubtful: the last batch failed: look for room on the database's disk, too.
        """
        try:
            async with asyncio.timeout(READY_SECONDS), borrow(self.pool, READY_SECONDS) as lent:
                if is_doubtful:
                    probing = lent.transaction()
                    await probing.start()
                    try:
                        await lent.execute(query("ready/room"))
                    finally:
                        await probing.rollback()
                async with lent.transaction():
                    await lent.execute(query("ready/write"))
        except DATABASE_ERRORS:
            return False
        return True


def _is_lost(connection: AnyConnection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # cut, and so back in the pool already
        return True


def unavailable(error: BaseException) -> Unavailable:
    """The 503 that a sender gets for an error of the database. What the database says of it is for
    our log: it may quote a row that another tenant has sent at the same time."""
    what = "the database is not reachable"
    if isinstance(error, asyncpg.PostgresError):
        what = f"the database refuses it now (SQLSTATE {error.sqlstate})"
    return Unavailable(what, blames_request=blames_request(error))


def _messages(series: Sequence[Series]) -> Iterator[tuple[list[Series], list[str]]]:
    """Series with their labels as JSON, as many as one message should hold; each is made when it
    is asked for."""
    few: list[Series] = []
    labels: list[str] = []
    held_bytes = 0
    for one in series:
        text = labels_json(one.labels)
        if few and (len(few) == RESOLVE_AT_ONCE or held_bytes + len(text) > RESOLVE_BYTES):
            yield few, labels
            few, labels, held_bytes = [], [], 0
        few.append(one)
        labels.append(text)
        held_bytes += len(text)
    if few:
        yield few, labels


def _commit(
    end: End, target: str = "", touched: Touched | None = None, is_staged: bool = False
) -> str:
    """How a transaction ends.

    Args:
        touched: what of its samples is marked; None: nothing, or it is already.
        is_staged: days of series, of which there are hours, are marked already.
    """
    marks, minutes_ms = "", touched.minutes_ms if touched is not None else ()
    if touched is not None and touched.late is not None:
        marks = _mark_late(target, touched.late, is_staged)
    ends = end.marking(target, _array(minutes_ms)) if minutes_ms else end.sql
    return f"SET LOCAL synchronous_commit = 'on'; {marks}{ends}COMMIT"


@cache
def _copy_straight(target: str, table: str) -> str:
    return STORES[target].copy_direct(table) + "; "


def _refuse_packed(target: str, sought: Sought) -> str:
    """The statement that fails if rows that were copied may be in blocks. It comes after them: what
    is moved from late rows into blocks until then, their key has waited for."""
    ids = f"'{{{repr(sought.series_ids)[1:-1]}}}'"  # 2,000 of them at half of what join() takes
    period = f"to_timestamp({sought.oldest_ms / 1000}), to_timestamp({sought.newest_ms / 1000})"
    return f"SELECT {target}.refuse_packed({ids}, {period}); "


def _mark_late(target: str, late: Late, is_staged: bool) -> str:
    """The statement that tells rollups of late samples. All of it is numbers of ours: nothing needs
    to be quoted, and little is sent, since the server reads it all, even of marks that stand."""
    columns: list[Sequence[int]] = []
    for metric_ids, *others in (late.new, late.standing):  # minutes and bits: once if all the same
        columns += [metric_ids, *[each[:1] if len(set(each)) == 1 else each for each in others]]
    columns += ([], []) if is_staged else (late.series_ids, late.days)
    *marks, series_ids, days = ["'{" + ",".join(map(str, each)) + "}'" for each in columns]
    taken, from_day = late.taken, None if is_staged else late.from_day
    numbers = ["NULL" if each is None else str(each) for each in (taken, from_day)]
    arguments = [f"'{target}'", numbers[0], *marks, numbers[1], series_ids, days]
    return f"CALL internal.mark_late({', '.join(arguments)}); "


def _array(minutes_ms: Sequence[int]) -> str:
    minutes = ", ".join([f"to_timestamp({ms // 1000})" for ms in minutes_ms])
    return f"ARRAY[{minutes}]"


def _source(payload: bytes, sent: Callable[[], None] | None) -> memoryview | AsyncIterator[bytes]:
    """A payload as it is sent: a long one in chunks, between which others have their turn."""
    if len(payload) > CHUNK_BYTES:
        return _chunks(payload, sent)
    if sent is not None:
        sent()
    return memoryview(payload)


async def _series_rows(
    series: Sequence[Series], ids: Sequence[SeriesId], metric_ids: Mapping[Any, int]
) -> AsyncIterator[bytes]:
    """Rows of `internal.series`, some at a time; parallel to `ids`."""
    yield HEADER
    for first in range(0, len(series), ROWS_AT_ONCE):
        few = series[first : first + ROWS_AT_ONCE]
        identities, tenants, targets, schemas, names, labels = zip(*few, strict=True)
        metrics = [metric_ids[one[1:5]] for one in few]
        documents = [labels_json(each).encode() for each in labels]
        yield encode_rows(
            [
                (BIGINT, ids[first : first + ROWS_AT_ONCE]),
                (INTEGER, metrics),
                (INTEGER, tenants),
                (REPEATED_TEXT, targets),
                (REPEATED_TEXT, names),
                (REPEATED_TEXT, schemas),
                (JSONB, documents),
                (UUID, identities),
            ]
        )
    yield TRAILER


async def _chunks(payload: bytes, sent: Callable[[], None] | None) -> AsyncIterator[bytes]:
    view = memoryview(payload)
    for start in range(0, len(view), CHUNK_BYTES):
        yield bytes(view[start : start + CHUNK_BYTES])
    if sent is not None:
        sent()
