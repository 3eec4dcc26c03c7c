"""Who asks at the read port: a key or a token becomes a tenant and a database role."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ingest.auth.access import ADMIN, WRITE, Access
from ingest.auth.authenticator import Authenticator, SeesTenant
from ingest.auth.credentials import CredentialKind, credentials_of
from ingest.auth.snapshot import DEFAULT_TENANT
from ingest.auth.tokens import ANONYMOUS_ROLE, Claims, Tokens
from ingest.errors import DatabaseAway, KeyRefused, TokenRefused, Unavailable
from ingest.model import TenantId

ADMIN_ROLE = "writer"
Headers = Mapping[str, str]


class Roles(Protocol):
    """What the database knows of what tokens claim."""

    async def role_of(self, claims: Claims) -> str:
        """The role that a request gets."""

    async def tenant_id_of(self, claims: Claims) -> TenantId:
        """The tenant whose data a request sees."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        tenant_id: whose data is seen.
        role: which functions may be called.
        claims: of the token; of a key, the same in its words.
        key_id: of the key, if there is one.
    """

    tenant_id: TenantId
    role: str
    claims: Claims
    key_id: str | None = None

    @property
    def counted_as(self) -> Hashable:
        """Who is meant where each has their share: the key, else the role of a tenant."""
        return self.key_id or (self.tenant_id, self.role)

    @property
    def tenant(self) -> str:
        """The tenant's name, as key or token say it."""
        return str(self.claims.values.get("tenant", DEFAULT_TENANT))


class Callers:
    """Finds out who asks, and records who was turned away.

    Args:
        authenticator: for keys, and for requests with nothing.
        tokens: for tokens.
    """

    def __init__(self, authenticator: Authenticator, tokens: Tokens, roles: Roles) -> None:
        self._authenticator = authenticator
        self._tokens = tokens
        self._roles = roles

    async def caller_of(self, headers: Headers, address: str | None, scope: str) -> Caller:
        """Who sent a request.

        Args:
            headers: of the request.
            address: the IP address that it came from.
            scope: what the request needs of a key; of a token the role decides, but it never
                writes.

        Raises:
            KeyRefused: 401, 403, the key or the token.
            RoleRefused: 403, the token's role.
            DatabaseAway: they cannot be checked now.
        """
        if (token := _token_of(headers)) is not None:
            claims = self._claims_of(token, headers, address)
            if scope == WRITE:
                refusal = KeyRefused("tokens are for reading; send an API key", "token")
                self._authenticator.refuse(refusal, headers, address)
                raise refusal
            role = await self._roles.role_of(claims)
            return Caller(await self._roles.tenant_id_of(claims), role, claims)
        try:
            access = await self._authenticator.admit(headers, address, scope)
        except Unavailable:
            raise DatabaseAway from None
        if scope == WRITE and not access.key_id and access.tenant != DEFAULT_TENANT:
            # The write side cannot know that this name came from a proxy: what it got from here
            # would be stored as another tenant's.
            text = (
                "send what X-Scope-OrgID names a tenant for to the write side, or with an API key"
            )
            refusal = KeyRefused(text, "tenant", 403, tenant_id=access.tenant_id)
            self._authenticator.refuse(refusal, headers, address)
            raise refusal
        return _with_access(access)

    async def sees(self, headers: Headers, address: str | None) -> SeesTenant:
        """Whose metrics the request is shown (`Authenticator.sees`). A token sees its tenant's.

        Raises:
            KeyRefused: 401, the key or the token.
            DatabaseAway: it cannot be checked now.
        """
        if (token := _token_of(headers)) is not None:
            claims = self._claims_of(token, headers, address)
            tenant = claims.values.get("tenant", DEFAULT_TENANT)
            return lambda name: name == tenant
        try:
            return await self._authenticator.sees(headers, address)
        except Unavailable:
            raise DatabaseAway from None

    def _claims_of(self, token: str, headers: Headers, address: str | None) -> Claims:
        try:
            return self._tokens.claims_of(token)
        except TokenRefused as refusal:
            self._authenticator.refuse(refusal, headers, address)
            raise


def _token_of(headers: Headers) -> str | None:
    """The request's token; None if it brings none, or what the authenticator will refuse."""
    try:
        credentials = credentials_of(headers)
    except KeyRefused:
        return None
    return credentials.text if credentials.kind is CredentialKind.TOKEN else None


def _with_access(access: Access) -> Caller:
    role = ADMIN_ROLE if ADMIN in access.scopes else ANONYMOUS_ROLE
    values = {} if access.tenant == DEFAULT_TENANT else {"tenant": access.tenant}
    if access.key_id:
        values = {"tenant": access.tenant, "role": role}
    claims = Claims(values, authenticated=access.key_id is not None)
    return Caller(access.tenant_id, role, claims, access.key_id)
