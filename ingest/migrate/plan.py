"""The files of `sql/`, in the order in which they are applied: `sql/order.toml` says it."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from ingest.errors import MigrationError
from ingest.sqlfiles import pack_names, sql_root

TEMPLATE = re.compile(r"-- (?:For each row of (internal\.[a-z_]+)|Once, filled in)\b")
"""How a file begins whose hooks are to be filled in (`internal.expand`), for each row or once."""

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
        pieces: what fills hooks of it, by name, beside the columns of the rows below.
    """

    path: str
    name: str
    text: str
    pieces: Mapping[str, str] = field(default_factory=dict)

    @property
    def for_each(self) -> str | None:
        """The relation of whose rows each fills in this template's hooks; None if it is none."""
        first_words = TEMPLATE.match(self.text)
        return first_words and (first_words[1] or "(SELECT)")

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal; of a template with all pieces that there are."""
        pieces = [text for _, text in sorted(self.pieces.items())] if self.for_each else []
        return hashlib.sha256("".join([self.text, *pieces]).encode()).hexdigest()


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
    pieces = {
        PurePath(path).stem: _piece(path) for path in order["pieces"] if path.startswith(ours)
    }
    migrations, repeatables = (
        tuple(_read(path, pieces) for path in order[kind] if path.startswith(ours))
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


def _read(path: str, pieces: Mapping[str, str]) -> SqlFile:
    name = path
    if "/migrations/" in path:
        for folder, was in MIGRATIONS_WERE_IN.items():
            if path.startswith(folder):
                name = was + path.removeprefix(folder)
    return SqlFile(path, name, _text(path), pieces)


def _piece(path: str) -> str:
    """What stands below the comment at the top."""
    return _text(path).partition("\n\n")[2].strip()


def _text(path: str) -> str:
    try:
        return (sql_root() / path).read_text(encoding="utf-8")
    except OSError as error:
        raise MigrationError(f"this installation lacks sql/{path}: {error.strerror}") from None
