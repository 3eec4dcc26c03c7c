"""Addresses to listen on: free now, and with a port where the system may choose."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from contextlib import ExitStack

from ingest.config.addresses import split_address
from ingest.errors import OperatorError


def settle_addresses(wanted: Mapping[str, str]) -> dict[str, str]:
    """Check that all addresses can be listened on, and give port 0 a number.

    Looked at before anything is started: a second daemon on a port should cost nobody a database
    start. They are free again when this returns.

    Args:
        wanted: `HOST:PORT` by the setting that names it, such as `--listen`.

    Returns:
        The same, with ports.

    Raises:
        OperatorError: one cannot be listened on.
    """
    with ExitStack() as until_all_are_checked:
        return {
            setting: _settle(setting, address, until_all_are_checked)
            for setting, address in wanted.items()
        }


def _settle(setting: str, address: str, stack: ExitStack) -> str:
    host, port = split_address(address)
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, place in places:
            probe = stack.enter_context(socket.socket(family, kind, protocol))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((place[0], port, *place[2:]))
            probe.listen(1)  # Linux lets two sockets be bound to one port until one of them listens
            port = port or probe.getsockname()[1]
    except OSError as error:
        raise OperatorError(_why_not(setting, address, error)) from None
    return f"{address.rpartition(':')[0]}:{port}"


def _why_not(setting: str, address: str, error: OSError) -> str:
    variable = "PROMGRES_" + setting.removeprefix("--").replace("-", "_").upper()
    if setting == "--database-listen":
        variable = "PROMGRES_DATABASE__LISTEN"
    reasons = {
        errno.EADDRINUSE: "is in use: stop what listens there",
        errno.EACCES: "needs more rights (ports below 1024 do)",
        errno.EADDRNOTAVAIL: "is not an address of this machine",
    }
    reason = reasons.get(error.errno or 0, f"cannot be used ({error.strerror or error})")
    return f"{address} {reason}, or choose another with {setting} or {variable}"
