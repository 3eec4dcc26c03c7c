"""Which neighbours are proxies of ours, and what is believed of what they say."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The networks of `auth.trusted_proxies`.

    Args:
        networks: such as `10.0.0.0/8`; none trusts nobody.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def trusts(self, address: str | None) -> bool:
        """Whether a request from there comes from a proxy of ours."""
        if not self._networks or address is None:
            return False
        parsed = _parse(address)
        return parsed is not None and self._is_ours(parsed)

    def client_of(self, headers: Mapping[str, str], address: str | None) -> str | None:
        """Who sent the request: behind trusted proxies, the last address of `X-Forwarded-For` that
        is none of them. Everybody can write into that header: nobody else is believed.
        """
        if not self.trusts(address):
            return address
        client = address
        for hop in reversed(_forwarded_for(headers)):
            parsed = _parse(hop)
            if parsed is None:
                break
            client = str(parsed)
            if not self._is_ours(parsed):
                break
        return client

    def _is_ours(self, address: IpAddress) -> bool:
        return any(address in network for network in self._networks)


def _forwarded_for(headers: Mapping[str, str]) -> list[str]:
    given = [value for name, value in headers.items() if name.lower() == "x-forwarded-for"]
    return [hop.strip() for value in given for hop in value.split(",")]


def _parse(text: str) -> IpAddress | None:
    """The address, without the port that some proxies add; of IPv4 in IPv6 clothes, the IPv4."""
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
