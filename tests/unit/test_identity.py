"""The identity of series: fixed for ever."""

import hashlib

import pytest

from ingest.series.identity import identity_of, key_seed

LABELS = (("__name__", "up"), ("job", "node"))


def test_the_vector_of_the_documentation() -> None:
    message = bytes.fromhex(
        "00000001 31  00000008 696e7465726e616c  00000006 636f6d6d6f6e"
        "00000008 5f5f6e616d655f5f  00000002 7570  00000003 6a6f62  00000004 6e6f6465"
    )
    identity = identity_of(1, "internal", "common", LABELS)
    assert identity == hashlib.blake2b(message, digest_size=16).digest()
    assert identity.hex() == "0305c649fddad51d8ac86e194ed7593d"


@pytest.mark.parametrize(
    ("tenant_id", "target", "schema", "labels"),
    [
        (2, "internal", "common", LABELS),
        (1, "cumsum", "common", LABELS),
        (1, "internal", "mainnet", LABELS),
        (1, "internal", "common", LABELS[:1]),
        (1, "internal", "common", (("__name__", "Up"), ("job", "node"))),
        (1, "internal", "common", (("__name__", "upj"), ("ob", "node"))),
    ],
)
def test_every_part_counts(
    tenant_id: int, target: str, schema: str, labels: tuple[tuple[str, str], ...]
) -> None:
    other = identity_of(tenant_id, target, schema, labels)
    assert other != identity_of(1, "internal", "common", LABELS)


def test_tenants_share_no_key() -> None:
    assert key_seed(1) == key_seed(1) != key_seed(2)
