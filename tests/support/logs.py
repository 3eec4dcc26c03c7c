"""Logs of the servers under a test, shown when it fails."""

from __future__ import annotations

from pathlib import Path

MOST_BYTES = 20_000


class ServerLogs:
    """Which log files belong to a test, and where in them the test began."""

    def __init__(self) -> None:
        self._watched: dict[str, tuple[Path, int]] = {}

    def watch(self, name: str, path: Path) -> None:
        """Show what `path` gains from now on if the test fails."""
        self._watched[name] = (path, path.stat().st_size if path.exists() else 0)

    def sections(self) -> list[tuple[str, str]]:
        """Titles and texts for pytest's report; the last 20 kB of each log."""
        return [
            (f"log of {name}", _read(path, start))
            for name, (path, start) in self._watched.items()
            if path.exists()
        ]


def _read(path: Path, start: int) -> str:
    with path.open("rb") as file:
        file.seek(max(start, path.stat().st_size - MOST_BYTES))
        return file.read().decode(errors="replace")
