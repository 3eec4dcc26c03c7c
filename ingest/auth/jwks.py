"""Keys that verify tokens: one secret, a JSON Web Key, or a set of them (RFC 7517)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jwt

LEAST_SECRET_BYTES = 32

_BY_TYPE: dict[str, tuple[str, ...]] = {
    "oct": ("HS256", "HS384", "HS512"),
    "RSA": ("RS256", "RS384", "RS512"),
    "OKP": ("EdDSA",),
}
_BY_CURVE: dict[str, tuple[str, ...]] = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
}
LEAST_RSA_BITS = 2048


class VerificationKey(NamedTuple):
    """A key, and the algorithms that it verifies: a public key is never taken for a secret.

    Attributes:
        kid: its name, by which a token may ask for it.
    """

    kid: str | None
    algorithms: tuple[str, ...]
    key: Any


def parse_keys(text: str) -> tuple[VerificationKey, ...]:
    """The keys in a setting: a text is one secret of HS256, JSON a key or a set.

    Raises:
        ValueError: it holds no key that could verify a token; the message has nothing of a secret.
    """
    if not text.lstrip().startswith("{"):
        return (VerificationKey(None, ("HS256",), text.encode()),)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it begins as JSON and is not valid JSON") from None
    listed = document.get("keys", [document])
    if not isinstance(listed, list):
        raise ValueError('"keys" is not a list')  # noqa: TRY004 (of a setting, not of a type)
    keys = [_parse_key(each, number) for number, each in enumerate(listed, 1)]
    found = tuple(each for each in keys if each is not None)
    if not found:
        raise ValueError("it holds no key that verifies tokens (HS, RS, ES or EdDSA)")
    return found


def _parse_key(document: Any, number: int) -> VerificationKey | None:
    """A key; None for one that is for something else, as a set of others may hold."""
    if not isinstance(document, dict):
        raise ValueError(f"key {number} is not an object")  # noqa: TRY004
    if document.get("use", "sig") != "sig":
        return None
    kind = document.get("kty")
    algorithms: tuple[str, ...] = _BY_TYPE.get(str(kind), ())
    if kind == "EC":
        algorithms = _BY_CURVE.get(str(document.get("crv")), ())
    if "alg" in document:
        algorithms = tuple(each for each in algorithms if each == document["alg"])
    if not algorithms:
        return None
    try:
        key = jwt.PyJWK(document, algorithm=algorithms[0]).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise ValueError(f"key {number} cannot be read") from None
    if isinstance(key, bytes | str):
        if len(key) < LEAST_SECRET_BYTES:
            raise ValueError(f"key {number} is shorter than {LEAST_SECRET_BYTES} bytes")
    elif kind == "RSA" and key.key_size < LEAST_RSA_BITS:
        raise ValueError(f"key {number} is shorter than {LEAST_RSA_BITS} bits")
    elif hasattr(key, "public_key"):  # somebody gave us the private one; it is not needed
        key = key.public_key()
    kid = document.get("kid")
    return VerificationKey(kid if isinstance(kid, str) else None, algorithms, key)


def usable_keys(
    keys: Sequence[VerificationKey], algorithm: str, kid: object, most: int
) -> list[VerificationKey]:
    """Keys that may have signed a token: those of its `kid`, else at most so many of its algorithm,
    as each costs time."""
    fitting = [each for each in keys if algorithm in each.algorithms]
    if isinstance(kid, str) and (named := [each for each in fitting if each.kid == kid]):
        return named[:most]
    return fitting[:most]
