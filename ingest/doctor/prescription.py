"""What an operator types: commands that can be copied from the doctor's table as they are."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

_ACTIVE_IN_DOUBLE_QUOTES = frozenset('"$`\\!')


@dataclass(frozen=True)
class Prescription:
    """How commands are written for this very system.

    Attributes:
        flags: what the doctor was told on its command line and other commands must be told too.
        embedded: `promgres up` runs the database, and migrates it at every start.
    """

    flags: tuple[str, ...] = ()
    embedded: bool = False

    def promgres(self, *words: str) -> str:
        """A `promgres` command with the flags it needs."""
        return shlex.join(["promgres", *words, *self.flags])

    def sql(self, *statements: str) -> str:
        """Statements through `promgres psql`, in one session."""
        commands = " ".join(f"-c {_quoted(statement)}" for statement in statements)
        return f"{self.promgres('psql')} {commands}"

    def sql_as_owner(self, *statements: str) -> str:
        """The same, for what must belong to the owner of all our objects."""
        return self.sql("SET ROLE promgres_owner", *statements)

    def setting(self, *statements: str) -> str:
        """`ALTER SYSTEM` and the like, and a reload."""
        return self.sql(*statements, "SELECT pg_reload_conf()")

    @property
    def migrate(self) -> str:
        """How the database is brought to this version."""
        if self.embedded:
            return f"restart it: {self.promgres('up')}"
        return self.promgres("migrate", "up")


def _quoted(statement: str) -> str:
    """As one word of a shell; SQL is easier to read in double quotes if it has single ones."""
    if "'" in statement and not _ACTIVE_IN_DOUBLE_QUOTES.intersection(statement):
        return f'"{statement}"'
    return shlex.quote(statement)


def identifier(name: str) -> str:
    """A name as SQL wants it."""
    plain = name.isidentifier() and name.islower() and name.isascii()
    return name if plain else '"' + name.replace('"', '""') + '"'
