"""API keys: their form, and whether a secret is the right one.

A key is `pmk_<key id>_<secret>`. The id is no secret; of the secret only a salted hash is known
here. 256 random bits need no slow hash: nobody guesses them, however quick a guess is.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field

from ingest.model import TenantId

PREFIX = "pmk_"
FORM = re.compile(r"pmk_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A key as a request brings it; its secret shows in no repr."""

    key_id: str
    secret: str = field(repr=False)


def parse_key(text: str) -> PresentedKey | None:
    """The key's two parts; None for what has not the form of a key."""
    match = FORM.fullmatch(text)
    return PresentedKey(match[1], match[2]) if match else None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the database knows it.

    Attributes:
        hash: SHA-256 of salt and secret, 32 bytes.
        expires_at: seconds since 1970, None for never.
    """

    key_id: str
    tenant_id: TenantId
    scopes: frozenset[str]
    salt: bytes = field(repr=False)
    hash: bytes = field(repr=False)
    expires_at: float | None = None
    is_revoked: bool = False

    def is_proved_by(self, secret: str) -> bool:
        """Whether it is the right secret, in a time that does not tell how much of it is right."""
        digest = hashlib.sha256(self.salt + secret.encode()).digest()
        return hmac.compare_digest(digest, self.hash)


_DECOY = StoredKey("", TenantId(0), frozenset(), os.urandom(16), os.urandom(32))


def is_proved(stored: StoredKey | None, secret: str) -> bool:
    """Whether there is such a key and it is the right secret.

    An id that nobody has is checked against a decoy: the time does not tell which ids there are.
    """
    is_right = (stored or _DECOY).is_proved_by(secret)
    return is_right and stored is not None
