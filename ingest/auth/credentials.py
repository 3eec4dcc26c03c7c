"""What a request brings to say whose it is: an API key or a token, in one of five places."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ingest.auth.keys import PREFIX
from ingest.errors import KeyRefused

LEGACY_HEADER = "x-pmetrics-api-key"
KEY_HEADERS = ("x-api-key", LEGACY_HEADER)
EITHER_HEADER = "apikey"
"""A key or a token: supabase-js sends what it sends as Bearer here, too."""
TENANT_HEADER = "x-scope-orgid"
"""Where a trusted proxy names the tenant."""

DECIDING_HEADERS = ("Authorization", "X-API-Key", "apikey", "X-PMETRICS-API-KEY", "X-Scope-OrgID")
"""All that says whose a request is, in the spelling of people."""
_DECIDING = frozenset(map(str.lower, DECIDING_HEADERS))
VARY = ", ".join(DECIDING_HEADERS)


class CredentialKind(Enum):
    """What it is."""

    NONE = "none"
    KEY = "key"
    TOKEN = "token"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key or a token as it was sent; it shows in no repr.

    Attributes:
        is_legacy: it is a key in `X-PMETRICS-API-KEY`, whose senders expect older answers.
    """

    kind: CredentialKind = CredentialKind.NONE
    text: str = field(default="", repr=False)
    is_legacy: bool = False


def credentials_of(headers: Mapping[str, str]) -> Credentials:
    """The one key or token of a request; the same key in several places counts once.

    Of a bearer value, `pmk_…` is a key and all else a token. Of Basic, the password is a key and
    the user's name does not matter.

    Args:
        headers: of the request; a header that was sent twice is looked at twice if `items` gives
            it twice, as aiohttp's does.

    Raises:
        KeyRefused: 401, several keys, or a scheme that nobody here understands.
    """
    found = set(_found(headers))
    if len(found) > 1:
        raise KeyRefused("the request brings several keys; one is enough", "several")
    for kind, text in found:
        return Credentials(kind, text, is_legacy(headers))
    return Credentials()


def says_who(headers: Mapping[str, str]) -> bool:
    """Whether anything in a request says whose it is."""
    return not _DECIDING.isdisjoint(map(str.lower, headers))


def is_legacy(headers: Mapping[str, str]) -> bool:
    """Whether a key is in `X-PMETRICS-API-KEY`: its sender knows the older answers only."""
    return any(name.lower() == LEGACY_HEADER for name in headers)


def challenge_of(refusal: KeyRefused) -> str:
    """What `WWW-Authenticate` says (RFC 6750)."""
    challenge = 'Bearer realm="promgres"'
    if refusal.status == 403:
        return challenge + ', error="insufficient_scope"'
    if refusal.reason != "missing":
        return challenge + ', error="invalid_token"'
    return challenge


def _found(headers: Mapping[str, str]) -> Iterator[tuple[CredentialKind, str]]:
    for name, value in headers.items():
        lowered = name.lower()
        if lowered in KEY_HEADERS:
            yield CredentialKind.KEY, value.strip()
        elif lowered == EITHER_HEADER and value.strip():
            yield _key_or_token(value.strip())
        elif lowered == "authorization" and value.strip():
            yield _authorization(value)


def _authorization(value: str) -> tuple[CredentialKind, str]:
    scheme, _, rest = value.strip().partition(" ")
    text = rest.strip()
    match scheme.lower():
        case "bearer":
            return _key_or_token(text)
        case "basic":
            return CredentialKind.KEY, _password(text)
    raise KeyRefused("Authorization is neither Bearer nor Basic", "scheme")


def _key_or_token(text: str) -> tuple[CredentialKind, str]:
    return (CredentialKind.KEY if text.startswith(PREFIX) else CredentialKind.TOKEN), text


def _password(text: str) -> str:
    try:
        pair = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise KeyRefused("the Basic credentials cannot be read", "malformed") from None
    return pair.partition(":")[2]
