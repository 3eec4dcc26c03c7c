"""The files of `sql/`, in the order in which they are applied."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ingest.errors import MigrationError
from ingest.sqlfiles import sql_root

EngineName = Literal["timescaledb", "postgres"]
FILE_NAME = re.compile(r"(\d+)_[a-z0-9_]+\.sql")


@dataclass(frozen=True)
class SqlFile:
    """One file.

    Attributes:
        path: below `sql/`, such as `common/migrations/0001_catalogue.sql`; its name in the record.
        number: what its name starts with.
        text: the statements.
    """

    path: str
    number: int
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """All files for one engine.

    Attributes:
        migrations: run once each, in this order, for ever unchanged.
        repeatables: functions and views, run again whenever one of them changed.
    """

    migrations: tuple[SqlFile, ...]
    repeatables: tuple[SqlFile, ...]


def read_plan(engine: EngineName) -> Plan:
    """The plan of an engine: common files and the engine's, interleaved by number.

    Raises:
        MigrationError: the installation is broken.
    """
    return Plan(_read("migrations", engine), _read("repeatable", engine))


def plan_digest(engine: EngineName) -> str:
    """Tells this version's files from another version's."""
    plan = read_plan(engine)
    sums = [f"{file.path} {file.checksum}" for file in (*plan.migrations, *plan.repeatables)]
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()


def read_bootstrap() -> str:
    """Statements that come before all files: roles, schemas, the record itself."""
    return (sql_root() / "bootstrap.sql").read_text(encoding="utf-8")


def read_recorder() -> str:
    """The statement that comes after each repeatable file, $1, and notes what it made."""
    return (sql_root() / "record_objects.sql").read_text(encoding="utf-8")


def _read(kind: str, engine: EngineName) -> tuple[SqlFile, ...]:
    files = [
        _read_file(path)
        for part in ("common", engine)
        for path in (sql_root() / part / kind).glob("*.sql")
    ]
    return tuple(sorted(files, key=lambda file: (file.number, file.path)))


def _read_file(path: Path) -> SqlFile:
    name = FILE_NAME.fullmatch(path.name)
    if name is None:
        raise MigrationError(f"{path}: a file of SQL is called NUMBER_what_it_does.sql")
    text = path.read_text(encoding="utf-8")
    return SqlFile(path.relative_to(sql_root()).as_posix(), int(name[1]), text)
