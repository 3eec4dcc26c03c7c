"""The data directory itself: made if missing, refused if it is somebody else's."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from ingest.errors import OperatorError

TRAVERSABLE = 0o711
"""As root: others may pass through (the server's account must), but not look around."""

CHOOSE_ANOTHER = "choose another with --data-dir or PROMGRES_DATA_DIR"


def prepare_data_dir(path: Path) -> Path:
    """Make the data directory if it is missing, and check that it is ours; its absolute path.

    As root its mode becomes 0711. Nothing above it is changed, nothing in it is touched.

    Raises:
        OperatorError: it belongs to another user, or cannot be made or written.
    """
    try:
        resolved = path.expanduser().resolve()
        _make(resolved)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OperatorError(
            f"cannot make the data directory {path}: {reason}; {CHOOSE_ANOTHER}"
        ) from None
    _check_owner(resolved)
    if os.geteuid() == 0:
        resolved.chmod(TRAVERSABLE)
    return resolved


def user_name(uid: int) -> str:
    """The user's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _make(path: Path) -> None:
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700)
        if os.geteuid() == 0:
            each.chmod(TRAVERSABLE)  # also what a strict umask would have closed
    if not path.is_dir():
        raise NotADirectoryError(0, "it is no directory")


def _check_owner(path: Path) -> None:
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise OperatorError(
            f"the data directory {path} belongs to {user_name(owner)}, and this is"
            f" {user_name(os.geteuid())}: run as {user_name(owner)}, or {CHOOSE_ANOTHER}"
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise OperatorError(f"the data directory {path} cannot be written; {CHOOSE_ANOTHER}")
