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
