"""The files of `sql/`, in the order in which they are applied: `sql/order.toml` says it."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Collection
from dataclasses import dataclass

from ingest.errors import MigrationError
from ingest.sqlfiles import pack_names, sql_root

MIGRATIONS_WERE_IN = {"core/": "common/", "engines/": ""}
"""Databases keep the names that migrations had when `sql/` was laid out otherwise."""


@dataclass(frozen=True)
class SqlFile:
    """One file.

    Attributes:
        path: below `sql/`.
        name: in the record, `internal.migration`. Of a migration it never changes, wherever the
            file is by now: `common/migrations/0001_catalogue.sql`. A repeatable file goes by its
            path; one that moves is a new one, and the old one is forgotten.
        text: the statements.
    """

    path: str
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """All files for one engine, and for some packs.

    Attributes:
        migrations: run once each, in this order, for ever unchanged.
        repeatables: functions and views, run again whenever one of them changed.
    """

    migrations: tuple[SqlFile, ...]
    repeatables: tuple[SqlFile, ...]


def read_plan(engine: str, packs: Collection[str]) -> Plan:
    """What `sql/order.toml` lists for everybody, for this engine, and for these packs.

    Raises:
        MigrationError: the installation is broken.
    """
    order = tomllib.loads(_text("order.toml"))
    ours = ("core/", f"engines/{engine}/", *(f"packs/{pack}/" for pack in packs))
    migrations, repeatables = (
        tuple(_read(path) for path in order[kind] if path.startswith(ours))
        for kind in ("migrations", "repeatable")
    )
    return Plan(migrations, repeatables)


def plan_digest(engine: str) -> str:
    """Tells this version's files from another version's, whichever packs are on."""
    plan = read_plan(engine, pack_names())
    sums = [f"{file.name} {file.checksum}" for file in (*plan.migrations, *plan.repeatables)]
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()


def read_bootstrap() -> str:
    """Statements that come before all files: roles, schemas, the record itself."""
    return _text("bootstrap.sql")


def read_recorder() -> str:
    """The statement that comes after each repeatable file, $1, and notes what it made."""
    return _text("record_objects.sql")


def _read(path: str) -> SqlFile:
    name = path
    if "/migrations/" in path:
        for folder, was in MIGRATIONS_WERE_IN.items():
            if path.startswith(folder):
                name = was + path.removeprefix(folder)
    return SqlFile(path, name, _text(path))


def _text(path: str) -> str:
    try:
        return (sql_root() / path).read_text(encoding="utf-8")
    except OSError as error:
        raise MigrationError(f"this installation lacks sql/{path}: {error.strerror}") from None
