"""Where the SQL files are: `ingest/_sql` of an installed wheel, else the repository's `sql/`."""

from __future__ import annotations

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
    """A file below `sql_root`, such as `spool/spool.sql`; read once.

    Raises:
        MigrationError: the installation is broken.
    """
    try:
        return (sql_root() / path).read_text(encoding="utf-8")
    except OSError as error:
        raise MigrationError(f"this installation lacks sql/{path}: {error.strerror}") from None


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
    """Read all files but those of migrations, for a process that soon may not reach them."""
    for folder in (each for each in sql_root().iterdir() if each.is_dir()):
        for file in (*folder.glob("*.sql"), *folder.glob("*/routes.toml")):
            read_sql(file.relative_to(sql_root()).as_posix())
    pack_names()
