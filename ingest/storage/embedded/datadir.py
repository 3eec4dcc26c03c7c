"""The data directory itself: made if missing, refused if it is somebody else's."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from pathlib import Path

from ingest.errors import OperatorError

TRAVERSABLE = 0o711
"""As root: others may pass through (the server's account must), but not look around."""

CHOOSE_ANOTHER = "choose another with --data-dir or PROMGRES_DATA_DIR"


SPOOL = "spool"
"""The folder of the spool, all that a write side writes below the data directory."""


def prepare_data_dir(path: Path) -> Path:
    """Make the data directory if it is missing, and check that it is ours; its absolute path.

    As root its mode becomes 0711. Nothing above it is changed, nothing in it is touched. Root's own
    is good enough for a user to whom root has handed the spool (`hand_over_spool`).

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


def hand_over_spool(data_dir: Path, uid: int, gid: int) -> Path:
    """Make the spool's folder another user's, with the files that root has left in it; its path.

    Only plain files with one name change hands: whom the folder belonged to may have put links to
    what is not his there.

    Args:
        data_dir: root's own, as `prepare_data_dir` returned it.

    Raises:
        OperatorError: the folder is something else, or the file system refuses.
    """
    folder = data_dir / SPOOL
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fchown(top, uid, gid)
            for name in os.listdir(top):  # noqa: PTH208 - the folder that is open, not its path
                _hand_over(name, top, uid, gid)
        finally:
            os.close(top)
    except OSError as error:
        raise OperatorError(
            f"cannot hand the spool in {folder} to {user_name(uid)}: {error.strerror or error};"
            f" {CHOOSE_ANOTHER}"
        ) from None
    return folder


def has_name(uid: int) -> bool:
    """Whether the machine has a name for a user."""
    return user_name(uid) != f"uid {uid}"


def user_name(uid: int) -> str:
    """The user's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _hand_over(name: str, folder: int, uid: int, gid: int) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENOENT}:
            return  # a link, a socket, a file of SQLite's that is gone by now
        raise
    try:
        status = os.fstat(file)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid != uid:
            os.fchown(file, uid, gid)
    finally:
        os.close(file)


def _make(path: Path) -> None:
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700)
        if os.geteuid() == 0:
            each.chmod(TRAVERSABLE)  # also what a strict umask would have closed
    if not path.is_dir():
        raise NotADirectoryError(0, "it is not a directory")


def _is_ours(folder: Path) -> bool:
    try:
        return folder.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _check_owner(path: Path) -> None:
    owner = path.stat().st_uid
    if owner == 0 and _is_ours(path / SPOOL):
        return
    if owner != os.geteuid():
        raise OperatorError(
            f"the data directory {path} belongs to {user_name(owner)}, and this is"
            f" {user_name(os.geteuid())}: run as {user_name(owner)}, or {CHOOSE_ANOTHER}"
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise OperatorError(f"the data directory {path} cannot be written; {CHOOSE_ANOTHER}")
