"""What a write side knew of its database, kept beside the spool: so the next one takes requests
while the database is away or recovers.

Of keys it has hashes only, as the database has. All of it is believed until the database says
otherwise, which is as long as keys in memory are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ingest.logs import get_logger

log = get_logger("known")

FILE = "known.json"
FORMAT = 1


@dataclass(frozen=True)
class Known:
    """One database, as it was met last.

    Attributes:
        place: where it was, without user and password.
        identity: tells it from another one at the same place; None where it does not say.
        engine: its engine's name.
        schema: digest of the SQL files that it was migrated to.
        horizons: by store, what is kept of it: see `storage.engine.Horizons`.
        directory: tenants and keys: the document of `internal.key_directory()`.
    """

    place: str
    identity: str | None
    engine: str
    schema: str
    horizons: Mapping[str, tuple[int | None, int]]
    directory: str


def recall(folder: Path) -> Known | None:
    """What was known; None if nothing was, or it cannot be read."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            return None
        horizons = {store: (kept[0], kept[1]) for store, kept in found.pop("horizons").items()}
        return Known(**found, horizons=horizons)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None


def remember(folder: Path, known: Known) -> bool:
    """Keep it for the next process; whether it is kept. A disk that does not take it is no reason
    to stop, but one to try again: what stays there may hold a key that is revoked by now."""
    new = folder / f"{FILE}.new"
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, **asdict(known)}, file)
        new.replace(folder / FILE)
    except OSError as error:
        log.warning("cannot keep what is known of the database", reason=error.strerror)
        return False
    return True


def forget(folder: Path) -> None:
    """It is not true any more."""
    (folder / FILE).unlink(missing_ok=True)
