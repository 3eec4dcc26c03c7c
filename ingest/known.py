"""What a write side knew of its database, kept beside the spool: so the next one takes requests
while the database is away or recovers.

Of keys it has hashes only, as the database has. All of it is believed until the database says
otherwise, which is as long as keys in memory are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ingest.logs import get_logger

log = get_logger("known")

FILE = "known.json"
FORMAT = 3


@dataclass(frozen=True)
class Known:
    """One database, as it was met last.

    Attributes:
        place: where it was, without user and password.
        identity: tells it from another one at the same place; None where it does not say.
        engine: its engine's name.
        packs: the packs that it has.
        schema: digest of the SQL files that it was migrated to.
        horizons: by store, what is kept of it: see `storage.engine.Horizons`.
        directory: tenants and keys: the document of `internal.key_directory()`.
    """

    place: str
    identity: str | None
    engine: str
    packs: tuple[str, ...]
    schema: str
    horizons: Mapping[str, tuple[int | None, int]]
    directory: str


def recall(folder: Path) -> Known | None:
    """What was known; None if nothing was, or it is not what was kept.

    Root asks as well, of a folder that is another user's: only a plain file is read.
    """
    try:
        descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, encoding="utf-8") as file:
            found = json.load(file)
        checksum, written_as = found.pop("checksum"), found.pop("format")
        if (written_as, checksum) != (FORMAT, _checksum(found)):
            return None
        horizons = {store: (kept[0], kept[1]) for store, kept in found.pop("horizons").items()}
        packs = tuple(found.pop("packs"))
        return Known(**found, horizons=horizons, packs=packs)
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
            kept = asdict(known)
            json.dump({"format": FORMAT, "checksum": _checksum(kept), **kept}, file)
        new.replace(folder / FILE)
    except OSError as error:
        log.warning("cannot keep what is known of the database", reason=error.strerror)
        return False
    return True


def forget(folder: Path) -> None:
    """It is not true any more."""
    (folder / FILE).unlink(missing_ok=True)


def _checksum(kept: Mapping[str, object]) -> str:
    """A bit that flips on the disk would make one tenant another, or a key that nobody has."""
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
