from __future__ import annotations

import socket

import pytest

from ingest.config.addresses import is_loopback, reachable_address, split_address
from ingest.errors import OperatorError
from ingest.supervisor.addresses import settle_addresses


def test_port_0_becomes_a_free_port_of_its_own() -> None:
    settled = settle_addresses({"--listen": "127.0.0.1:0", "--api-listen": "127.0.0.1:0"})
    ports = {split_address(address)[1] for address in settled.values()}
    assert len(ports) == 2
    assert 0 not in ports
    assert settle_addresses(settled) == settled, "they are free again"


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OperatorError) as refusal:
            settle_addresses({"--api-listen": address})
    message = str(refusal.value)
    assert address in message
    assert "in use" in message
    assert "--api-listen or PROMGRES_API_LISTEN" in message


def test_both_sides_cannot_share_a_port() -> None:
    [free] = settle_addresses({"--listen": "127.0.0.1:0"}).values()
    with pytest.raises(OperatorError, match="in use"):
        settle_addresses({"--listen": free, "--api-listen": free})


@pytest.mark.parametrize("address", ["192.0.2.1:1", "no-such-host.invalid:1"])
def test_an_address_that_is_not_ours_is_refused(address: str) -> None:
    with pytest.raises(OperatorError, match="--listen"):
        settle_addresses({"--listen": address})


@pytest.mark.parametrize(
    ("listens", "reached"),
    [
        ("127.0.0.1:9273", "127.0.0.1:9273"),
        ("localhost:9273", "localhost:9273"),
        ("0.0.0.0:9273", "127.0.0.1:9273"),
        ("[::]:9273", "[::1]:9273"),
        ("[fd00::1]:9273", "[fd00::1]:9273"),
    ],
)
def test_where_a_local_client_finds_it(listens: str, reached: str) -> None:
    assert reachable_address(listens) == reached


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.5:1", False),
        ("metrics.internal:1", False),
    ],
)
def test_who_can_reach_an_address(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
