"""Logs of the servers under a test, shown when it fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

MOST_CHARACTERS = 20_000


class ServerLogs:
    """What the servers of one test have said."""

    def __init__(self) -> None:
        self._said: dict[str, Callable[[], str]] = {}

    def watch(self, name: str, path: Path) -> None:
        """Show what the file `path` gains from now on if the test fails."""
        start = path.stat().st_size if path.exists() else 0
        self._said[name] = partial(_read, path, start)

    def watch_output(self, name: str, output: Callable[[], str]) -> None:
        """Show what `output()` says at the end if the test fails."""
        self._said[name] = output

    def sections(self) -> list[tuple[str, str]]:
        """Titles and texts for pytest's report: the end of each log."""
        return [(f"log of {name}", said()[-MOST_CHARACTERS:]) for name, said in self._said.items()]


def _read(path: Path, start: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")
