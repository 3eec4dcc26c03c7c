"""Who asks: a key or a token becomes a tenant and a database role."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import asyncpg
from aiohttp import web

from ingest.auth.access import ADMIN, WRITE, Access
from ingest.auth.authenticator import Authenticator, SeesTenant
from ingest.auth.credentials import Kind, challenge_of, credentials_of, words_of
from ingest.auth.snapshot import DEFAULT_TENANT
from ingest.errors import KeyRefused, Unavailable
from ingest.http.problems import Problem, database_away
from ingest.model import TenantId
from ingest.rpc.pgproblems import problem_of
from ingest.rpc.schema_cache import ANONYMOUS_ROLE, Directory
from ingest.rpc.tokens import Claims, Tokens

ADMIN_ROLE = "writer"


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

    def __init__(self, authenticator: Authenticator, tokens: Tokens, directory: Directory) -> None:
        self._authenticator = authenticator
        self._tokens = tokens
        self._directory = directory

    async def caller_of(self, request: web.BaseRequest, scope: str) -> Caller:
        """Who sent this request.

        Args:
            scope: what the request needs of a key; of a token the role decides, but it never
                writes.

        Raises:
            Problem: 401, 403, the key or the token; 503, it cannot be checked now.
        """
        try:
            token = _token_of(request.headers)
            if token is not None:
                return await self._with_token(request, token, scope)
            access = await self._authenticator.admit(request.headers, request.remote, scope)
            self._refuse_names_of_proxies(request, access, scope)
        except KeyRefused as refusal:
            raise _refused(refusal) from None
        except Unavailable:
            raise database_away() from None
        return _with_access(access)

    async def sees(self, request: web.BaseRequest) -> SeesTenant:
        """Whose metrics the request is shown (`Authenticator.sees`). A token sees its tenant's.

        Raises:
            Problem: 401, the key or the token; 503, it cannot be checked now.
        """
        token = _token_of(request.headers)
        if token is not None:
            claims = self._claims_of(request, token)
            tenant = claims.values.get("tenant", DEFAULT_TENANT)
            return lambda name: name == tenant
        try:
            return await self._authenticator.sees(request.headers, request.remote)
        except KeyRefused as refusal:
            raise _refused(refusal) from None
        except Unavailable:
            raise database_away() from None

    async def _with_token(self, request: web.BaseRequest, token: str, scope: str) -> Caller:
        claims = self._claims_of(request, token)
        if scope == WRITE:
            refusal = KeyRefused("tokens are for reading; send an API key", "token")
            self._authenticator.refuse(refusal, request.headers, request.remote)
            raise refusal
        try:
            role = await self._directory.role_of(claims)
            return Caller(TenantId(await self._directory.tenant_id_of(claims)), role, claims)
        except asyncpg.PostgresError as error:
            raise problem_of(error, authenticated=True) from error

    def _claims_of(self, request: web.BaseRequest, token: str) -> Claims:
        try:
            return self._tokens.claims_of(token)
        except Problem as problem:
            refusal = KeyRefused(problem.message, "token")
            self._authenticator.refuse(refusal, request.headers, request.remote)
            raise

    def _refuse_names_of_proxies(
        self, request: web.BaseRequest, access: Access, scope: str
    ) -> None:
        """The write side cannot know that this name came from a proxy: what it got from here would
        be stored as another tenant's."""
        if scope != WRITE or access.key_id or access.tenant == DEFAULT_TENANT:
            return
        text = "send what X-Scope-OrgID names a tenant for to the write side, or with an API key"
        refusal = KeyRefused(text, "tenant", 403, tenant_id=access.tenant_id)
        self._authenticator.refuse(refusal, request.headers, request.remote)
        raise refusal


def _token_of(headers: Mapping[str, str]) -> str | None:
    """The request's token; None if it brings none, or what the authenticator will refuse."""
    try:
        credentials = credentials_of(headers)
    except KeyRefused:
        return None
    return credentials.text if credentials.kind is Kind.TOKEN else None


def _with_access(access: Access) -> Caller:
    role = ADMIN_ROLE if ADMIN in access.scopes else ANONYMOUS_ROLE
    values = {} if access.tenant == DEFAULT_TENANT else {"tenant": access.tenant}
    if access.key_id:
        values = {"tenant": access.tenant, "role": role}
    claims = Claims(values, authenticated=access.key_id is not None)
    return Caller(access.tenant_id, role, claims, access.key_id)


def _refused(refusal: KeyRefused) -> Problem:
    """As PostgREST's clients know it."""
    headers = {"WWW-Authenticate": challenge_of(refusal)}
    return Problem(refusal.status, *words_of(refusal), headers=headers)
