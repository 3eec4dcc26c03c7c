"""Users that root lends to the processes which parse what strangers send.

They are looked up, never made: settings name them, else the machine's own system users are taken.
As anybody but root there is nothing to lend, and all of this does nothing.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pwd
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ingest.errors import OperatorError

Side = Literal["server", "ingest", "api"]
SIDES: tuple[Side, ...] = get_args(Side)

CANDIDATES: Mapping[Side, tuple[str, ...]] = {
    "server": ("promgres-server", "postgres", "_postgres", "nobody", "daemon", "bin"),
    "ingest": ("promgres-ingest", "daemon", "bin", "nobody", "games"),
    "api": ("promgres-api", "nobody", "bin", "games", "_www", "www-data"),
}
"""Whom a side may be, the best first: users made for Promgres, then such as own no files and run
nothing on most machines. `www-data` comes last: a web server may run as it."""

FIRST_LOGIN_UID = 1000
SOCKET_GROUP = 61_000
"""The group that passes to the socket's directory: one without a name, so that no file of anybody
else belongs to it. Neither Debian nor systemd hands out ids from 60578 to 61183."""

_NO_NEW_PRIVILEGES, _KEEP_CAPABILITIES = 38, 8
_BIND_LOW_PORTS = 1 << 10
_CAPABILITY_VERSION_3 = 0x20080522

_LOADED_ON_FIRST_USE = (
    "concurrent.futures.thread", "encodings.idna", "encodings.latin_1", "encodings.utf_8",
    "encodings.ascii", "encodings.utf_8_sig", "linecache", "tokenize", "traceback", "unicodedata",
    "_strptime", "zoneinfo", "ipaddress", "inspect", "shlex", "numpy.ma",
)  # fmt: skip


@dataclass(frozen=True)
class User:
    """A user of this machine."""

    name: str
    uid: int
    gid: int


def choose_users(
    named: Mapping[Side, str | None], database_owner: User | None = None
) -> dict[Side, User]:
    """A user for each side: the one that the settings name, else the first candidate that no other
    side has, else the first that there is, else root.

    Args:
        database_owner: who owns the embedded database, if there is one already: it stays.

    Raises:
        OperatorError: a user that is named does not exist.
    """
    chosen = {side: _named(side, name) for side, name in named.items() if name}
    if database_owner is not None:
        chosen["server"] = database_owner
    for side in SIDES:
        if side not in chosen:
            there = list(_system_users(CANDIDATES[side]))
            taken = {user.uid for user in chosen.values()}
            free = (user for user in there if user.uid not in taken)
            chosen[side] = next(free, there[0] if there else User("root", 0, 0))
    return chosen


def not_separated(users: Mapping[Side, User], of: Side | None = None) -> str | None:
    """What these users leave open, as one line that says what to do; None if it is nothing.

    Args:
        of: only what concerns this side.
    """
    shared = []
    for user in dict.fromkeys(users.values()):
        sides = [side for side in users if users[side] == user]
        if (len(sides) > 1 or user.uid == 0) and (of is None or of in sides):
            shared.append(f"{' and '.join(sides)} run as {user.name}")
    if not shared:
        return None
    return (
        f"{'; '.join(shared)}: who breaks into one has what that user has; make other users"
        " (useradd --system) and name them in users.server, users.ingest and users.api"
    )


def forbid_new_privileges() -> None:
    """Have no set-user-id program give this process, or what it starts, more rights (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def load_ahead() -> None:
    """Import what Python itself loads on first use: a user that root lends may not reach its files,
    or ours (a clone below root's home). Ours are there: no module of ours loads another later."""
    for name in _LOADED_ON_FIRST_USE:
        importlib.import_module(name)


def become(user: User, group: int | None = None, port: int | None = None) -> None:
    """Stop being root, for good: with no groups but the user's own and `group`, no capabilities but
    the one that binds `port` if that is a low one, files for nobody else, and no way back.

    Raises:
        OperatorError: this machine does not let us.
    """
    os.umask(0o077)
    forbid_new_privileges()
    if os.geteuid() != 0 or user.uid == 0:
        return
    kept = _bindable() if port and port < _first_free_port() else 0
    try:
        os.setgroups([] if group is None else [group])
        os.setgid(user.gid)
        if kept:
            ctypes.CDLL(None).prctl(_KEEP_CAPABILITIES, 1, 0, 0, 0)
        os.setuid(user.uid)
        if kept:
            _keep_only(kept)
    except OSError as error:
        raise OperatorError(
            f"root cannot become {user.name} here: {error.strerror or error}; run as an ordinary"
            " user, or name another in users.ingest and users.api (root stays root)"
        ) from None
    # What looks into the home directory, as drivers do for passwords and certificates, shall not
    # meet root's, which is closed by now.
    os.environ["HOME"] = pwd.getpwuid(user.uid).pw_dir


def _named(side: Side, name: str) -> User:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise OperatorError(
            f"users.{side}: there is no user {name!a}; make it (useradd --system {name}), or name"
            " another"
        ) from None
    return User(found.pw_name, found.pw_uid, found.pw_gid)


def _system_users(names: Iterable[str]) -> Iterable[User]:
    """Those of the users that exist and nobody logs in as; never one with root's group."""
    for name in names:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        is_system = 0 < found.pw_uid < FIRST_LOGIN_UID or name == "nobody"
        if is_system and found.pw_gid != 0:
            yield User(found.pw_name, found.pw_uid, found.pw_gid)


def _first_free_port() -> int:
    """Below it a port takes a right to bind (Linux; macOS asks for none)."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024 if sys.platform == "linux" else 0


def _bindable() -> int:
    """The capability that binds low ports, if we have it (a container may have taken it)."""
    status = Path("/proc/self/status").read_text()
    permitted = next(line.split()[1] for line in status.splitlines() if line.startswith("CapPrm"))
    return int(permitted, 16) & _BIND_LOW_PORTS


def _keep_only(capabilities: int) -> None:
    """Of the capabilities that outlived the change of user, keep these."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable; the lower 32 of each, then the upper.
    data = (ctypes.c_uint32 * 6)(capabilities, capabilities, 0, 0, 0, 0)
    if libc.capset(header, data):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    libc.prctl(_KEEP_CAPABILITIES, 0, 0, 0, 0)
