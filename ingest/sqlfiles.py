"""Where the SQL files are: `ingest/_sql` of an installed wheel, else the repository's `sql/`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from ingest.errors import MigrationError


@cache
def sql_root() -> Path:
    """The folder of all SQL files.

    Raises:
        MigrationError: the installation is broken.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "_sql", package.parent / "sql"):
        if (root / "bootstrap.sql").is_file():
            return root
    raise MigrationError(f"the SQL files of this installation are missing below {package}")


@cache
def read_sql(path: str) -> str:
    """A file below `sql_root`, such as `doctor/clock.sql`; read once.

    Raises:
        MigrationError: the installation is broken.
    """
    try:
        return (sql_root() / path).read_text(encoding="utf-8")
    except OSError as error:
        raise MigrationError(f"this installation lacks sql/{path}: {error.strerror}") from None


def query(name: str) -> str:
    """What Python asks: the text of `sql/queries/NAME.sql`."""
    return read_sql(f"queries/{name}.sql")


def filled_query(name: str, **hooks: str) -> str:
    """The same with each `@hook@` filled in, without the comment at its top. What fills a hook is
    SQL, and is not looked into."""
    return "".join(hooks[part] if number % 2 else part for number, part in enumerate(_parts(name)))


@cache
def _parts(name: str) -> list[str]:
    """Text, hook, text, hook, text …"""
    statement = re.sub(r"\A(--[^\n]*\n)+", "", query(name))
    return re.split("@([a-z_]+)@", statement.rstrip())


@cache
def engine_names() -> frozenset[str]:
    """The engines that there are: the folders of `sql/engines/`."""
    return _folders("engines")


@cache
def pack_names() -> frozenset[str]:
    """The packs that there are: the folders of `sql/packs/`."""
    return _folders("packs")


def _folders(parent: str) -> frozenset[str]:
    return frozenset(each.name for each in (sql_root() / parent).iterdir() if each.is_dir())


def read_ahead() -> None:
    """Read all but what `promgres migrate` applies, for a process that soon may not reach them."""
    root = sql_root()
    for pattern in ("doctor/*.sql", "queries/**/*.sql", "packs/*/routes.toml"):
        for file in root.glob(pattern):
            read_sql(file.relative_to(root).as_posix())
    pack_names()
