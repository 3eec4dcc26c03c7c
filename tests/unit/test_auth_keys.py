"""Keys: their form, the check of a secret, and that no secret shows anywhere."""

from __future__ import annotations

import hashlib
import secrets

import pytest

from ingest.auth.access import Access
from ingest.auth.credentials import CredentialKind, Credentials, challenge_of, credentials_of
from ingest.auth.keys import StoredKey, is_proved, parse_key
from ingest.errors import KeyRefused
from tests.support.keys import KEY, SECRET, basic, stored

OTHER = KEY[:-1] + ("A" if KEY[-1] != "A" else "B")


def test_a_key_has_two_parts() -> None:
    parsed = parse_key(KEY)
    assert parsed is not None
    assert (parsed.key_id, parsed.secret) == ("abcdefghijk1", SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pmk_",
        SECRET,
        KEY[:-1],
        KEY + "A",
        KEY.upper(),
        " " + KEY,
        KEY + "\n",
        KEY.replace("pmk_", "pmk-"),
        "pmk_abcdefghijk_" + SECRET,
        "pmk_abcdefghijk1_" + SECRET[:-1] + "é",
        "pmk_abcdefghijk1_" + SECRET[:-1] + "=",
        "pmk_abcdefghijk١_" + SECRET,
    ],
)
def test_what_is_no_key(text: str) -> None:
    assert parse_key(text) is None


def test_a_secret_may_hold_underscores_and_dashes() -> None:
    secret = "_" * 21 + "-" * 22
    parsed = parse_key(f"pmk_abcdefghijk1_{secret}")
    assert parsed is not None
    assert parsed.secret == secret


def test_only_the_right_secret_proves_a_key() -> None:
    key = stored()
    assert is_proved(key, SECRET)
    assert not is_proved(key, SECRET.swapcase())
    assert not is_proved(None, SECRET)


def test_the_hash_is_sha_256_of_salt_and_secret() -> None:
    salt = secrets.token_bytes(16)
    digest = hashlib.sha256(salt + SECRET.encode()).digest()
    assert StoredKey("abcdefghijk1", 2, frozenset(), salt, digest).is_proved_by(SECRET)


def test_no_secret_shows_in_a_repr() -> None:
    key = stored()
    shown = f"{parse_key(KEY)!r} {key!r} {Credentials(CredentialKind.KEY, KEY)!r}"
    assert SECRET not in shown
    assert repr(key.hash) not in shown
    assert repr(key.salt) not in shown


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer   {KEY} "},
        {"Authorization": f"Basic {basic('', KEY)}"},
        {"Authorization": f"BASIC {basic('somebody', KEY)}"},
        {"X-API-Key": KEY},
        {"X-API-Key": KEY, "Authorization": f"Bearer {KEY}"},
    ],
)
def test_a_key_is_found_wherever_it_is(headers: dict[str, str]) -> None:
    found = credentials_of(headers)
    assert (found.kind, found.text, found.is_legacy) == (CredentialKind.KEY, KEY, False)


def test_the_older_header_is_remembered() -> None:
    assert credentials_of({"X-PMETRICS-API-KEY": KEY}).is_legacy
    both = credentials_of({"X-PMETRICS-API-KEY": KEY, "X-Api-Key": KEY})
    assert (both.text, both.is_legacy) == (KEY, True)


def test_without_credentials() -> None:
    assert credentials_of({"Host": "x", "Authorization": " "}).kind is CredentialKind.NONE


def test_a_bearer_value_that_does_not_begin_like_a_key_is_a_token() -> None:
    assert credentials_of({"Authorization": "Bearer a.b.c"}).kind is CredentialKind.TOKEN
    assert credentials_of({"Authorization": "Bearer abc"}).kind is CredentialKind.TOKEN
    assert credentials_of({"Authorization": "Bearer"}).kind is CredentialKind.TOKEN


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Authorization": f"Bearer {KEY}", "X-API-Key": OTHER}, "several"),
        ({"X-PMETRICS-API-KEY": KEY, "X-API-Key": OTHER}, "several"),
        ({"Authorization": "Bearer a.b.c", "X-API-Key": KEY}, "several"),
        ({"Authorization": f"Digest {KEY}"}, "scheme"),
        ({"Authorization": KEY}, "scheme"),
        ({"Authorization": "Basic !!!"}, "malformed"),
        ({"Authorization": "Basic //79"}, "malformed"),
    ],
)
def test_credentials_that_are_refused_unseen(headers: dict[str, str], reason: str) -> None:
    with pytest.raises(KeyRefused) as refused:
        credentials_of(headers)
    assert (refused.value.reason, refused.value.status) == (reason, 401)
    assert SECRET not in str(refused.value)


def test_challenges() -> None:
    assert challenge_of(KeyRefused("", "missing")) == 'Bearer realm="promgres"'
    assert challenge_of(KeyRefused("", "unknown")).endswith(', error="invalid_token"')
    assert challenge_of(KeyRefused("", "scope", 403)).endswith(', error="insufficient_scope"')


def test_admin_implies_write_and_read() -> None:
    assert Access(2, "a", frozenset({"admin"}), None).allows("write")
    assert Access(2, "a", frozenset({"admin"}), None).allows("read")
    assert not Access(2, "a", frozenset({"read", "write"}), None).allows("admin")
    assert not Access(2, "a", frozenset({"read"}), None).allows("write")


def test_only_administrators_of_default_see_everybody() -> None:
    assert Access(1, "default", frozenset({"admin"}), None).sees("b")
    assert not Access(1, "default", frozenset({"read", "write"}), None).sees("b")
    assert not Access(2, "a", frozenset({"admin"}), None).sees("b")
    assert Access(2, "a", frozenset({"write"}), None).sees("a")
