"""Who runs the server. PostgreSQL refuses to run as root, so root lends it a lesser account, and
others to the write side and the read side (`ingest.users`)."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ingest.config.settings import UserSettings
from ingest.errors import OperatorError
from ingest.storage.embedded.datadir import CHOOSE_ANOTHER, user_name
from ingest.users import Side, User, choose_users

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""All that the server's processes get to see of ours: no PG* variable, and no secret."""


class Identity(TypedDict, total=False):
    """Arguments of `subprocess` that change the user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """A user as which the server's programs run."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """For messages."""
        return user_name(self.uid)

    @property
    def identity(self) -> Identity:
        """What `subprocess` needs to run something as this user; nothing, if that is us."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": _groups(self.uid, self.gid)}

    def own(self, path: Path, passing_group: int | None = None) -> None:
        """Make a directory its own, closed to all others but a group that may pass through it. Its
        parent must be ours."""
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.stat()
        gid = self.gid if passing_group is None else passing_group
        if (status.st_uid, status.st_gid) != (self.uid, gid) and self.identity:
            os.chown(path, self.uid, gid)
        path.chmod(0o700 if passing_group is None else 0o710)

    def can_run(self, program: Path) -> bool:
        """Whether it can run a program of PostgreSQL with its libraries: it is tried."""
        try:
            done = subprocess.run(  # noqa: S603
                [program, "--version"],
                env=ENVIRONMENT, cwd="/", capture_output=True, check=False, **self.identity,
            )  # fmt: skip
        except OSError:
            return False
        return done.returncode == 0

    def require_way_to(self, path: Path, what: str = "the database") -> None:
        """Check that it can get to a directory of its own.

        Args:
            what: runs as it, for the message.

        Raises:
            OperatorError: a directory above is closed to it. We do not open what is not ours.
        """
        if not self.identity:
            return
        done = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", 'cd "$1"', "sh", path],
            env=ENVIRONMENT, cwd="/", capture_output=True, check=False, **self.identity,
        )  # fmt: skip
        if done.returncode:
            raise OperatorError(
                f"as root {what} runs as {self.name}, who cannot get to {path}"
                f"{_closed_above(path)}; {CHOOSE_ANOTHER}"
            )


def users_of(settings: UserSettings, cluster: Path) -> dict[Side, User]:
    """Who is to run what when we are root; empty when we are not.

    Raises:
        OperatorError: a user that the settings name does not exist, or is not the one to whom the
            cluster belongs.
    """
    if os.geteuid() != 0:
        return {}
    owner = None
    if cluster.exists():
        status = cluster.stat()
        owner = User(user_name(status.st_uid), status.st_uid, status.st_gid)
        if settings.server not in {None, owner.name}:
            raise OperatorError(
                f"{cluster} belongs to {owner.name}, and users.server says {settings.server}:"
                f" `chown -R {settings.server}` it (promgres must not run), or name {owner.name}"
            )
    named: dict[Side, str | None] = {
        "server": settings.server,
        "ingest": settings.ingest,
        "api": settings.api,
    }
    return choose_users(named, owner)


def server_account(cluster: Path, lent: User | None = None) -> Account:
    """Who runs the server of a cluster: its owner; for a new one we, or for root a lesser user.

    Args:
        lent: the lesser user; None lets the machine decide.

    Raises:
        OperatorError: the cluster belongs to root or to a stranger; or root finds no lesser user.
    """
    us = os.geteuid()
    if cluster.exists():
        return _owner_of(cluster, us)
    if us != 0:
        return Account(us, os.getegid())
    lent = lent or choose_users({})["server"]
    if lent.uid == 0:
        raise OperatorError(
            "PostgreSQL does not run as root, and this machine has neither a user postgres nor"
            " nobody: run as an ordinary user, name one in users.server, or give --database-url"
        )
    return Account(lent.uid, lent.gid)


def _owner_of(cluster: Path, us: int) -> Account:
    status = cluster.stat()
    if us not in {0, status.st_uid}:
        raise OperatorError(
            f"{cluster} belongs to {user_name(status.st_uid)}; run as that user, or"
            f" {CHOOSE_ANOTHER}"
        )
    if status.st_uid == 0:
        raise OperatorError(
            f"{cluster} belongs to root, as whom PostgreSQL does not run: `chown -R` it to the"
            " user who made it"
        )
    return Account(status.st_uid, status.st_gid)


def _groups(uid: int, gid: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]


def _closed_above(path: Path) -> str:
    """The topmost directory that others may not pass, as part of a message."""
    for directory in reversed(path.parents):
        mode = directory.stat().st_mode & 0o777
        if not mode & 0o001:
            return f" (others may not pass {directory}, its mode is {mode:04o})"
    return ""
