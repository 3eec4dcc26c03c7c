from __future__ import annotations

import socket

import pytest

from ingest.errors import OperatorError
from ingest.supervisor.addresses import reachable_address, settle_addresses, split_address


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
