"""`HOST:PORT`, taken apart."""

from __future__ import annotations

import ipaddress

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def split_address(address: str) -> tuple[str, int]:
    """Host, without the brackets of IPv6, and port of `HOST:PORT`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def reachable_address(address: str) -> str:
    """Where a client on this machine finds a server that listens on `address`."""
    host, port = split_address(address)
    host = _EVERY_ADDRESS.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches `HOST:PORT`."""
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
