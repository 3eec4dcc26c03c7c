"""Who comes in: from a request's headers to its tenant and what it may do there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ingest.auth.access import READ, WRITE, Access
from ingest.auth.audit import Audit
from ingest.auth.credentials import (
    TENANT_HEADER,
    CredentialKind,
    credentials_of,
    is_legacy,
    says_who,
)
from ingest.auth.directory import Directory
from ingest.auth.keys import parse_key
from ingest.auth.proxies import Proxies
from ingest.auth.usage import KeyUse
from ingest.config import AuthSettings
from ingest.errors import KeyRefused
from ingest.logs import get_logger
from ingest.model import DEFAULT_TENANT_ID

log = get_logger("tenants")

SCOPES_WITHOUT_KEY = frozenset({READ, WRITE})
MOST_WARNINGS = 1000

SeesTenant = Callable[[str], bool]
"""Whether what is labelled with a tenant's name may be shown."""


class Authenticator:
    """Admits requests, or refuses them and keeps a record of it."""

    def __init__(
        self, directory: Directory, audit: Audit, usage: KeyUse, settings: AuthSettings
    ) -> None:
        self._directory = directory
        self._audit = audit
        self._usage = usage
        self._required = settings.required
        self._proxies = Proxies(settings.trusted_proxies)
        self._warned: set[str | None] = set()

    async def admit(self, headers: Mapping[str, str], address: str | None, scope: str) -> Access:
        """The tenant of a request, and what it may do.

        Args:
            headers: of the request.
            address: the IP address that it came from.
            scope: what it needs: `read`, `write` or `admin`.

        Raises:
            KeyRefused: 401, no key or a bad one; 403, the key has not this scope.
            Unavailable: the key is not known, and the database cannot be asked.
        """
        try:
            access = await self._named(headers, address)
            if access is None:
                if self._required:
                    raise KeyRefused(  # noqa: TRY301 (recorded below as any other)
                        "an API key is needed (Authorization: Bearer pmk_…)", "missing"
                    )
                name = self._directory.name_of(DEFAULT_TENANT_ID)
                access = Access(DEFAULT_TENANT_ID, name, SCOPES_WITHOUT_KEY, None)
            if not access.allows(scope):
                text = f"this needs an API key with scope {scope}"
                raise KeyRefused(text, "scope", 403, access.key_id, access.tenant_id)  # noqa: TRY301
        except KeyRefused as refusal:
            refusal.is_legacy = is_legacy(headers)
            self.refuse(refusal, headers, address)
            raise
        return access

    async def sees(self, headers: Mapping[str, str], address: str | None) -> SeesTenant:
        """Whose metrics a request is shown, besides those of nobody.

        Any valid key sees its own tenant, one of `default` with scope `admin` sees all. Who comes
        without a key sees all, or where keys are required nobody's.

        Raises:
            KeyRefused: 401, a bad key.
            Unavailable: the key is not known, and the database cannot be asked.
        """
        try:
            access = await self._named(headers, address)
        except KeyRefused as refusal:
            self.refuse(refusal, headers, address)
            raise
        if access is None:
            return lambda _: not self._required
        return access.sees

    def refuse(self, refusal: KeyRefused, headers: Mapping[str, str], address: str | None) -> None:
        """Count and record a refusal, with the address that the request really came from."""
        self._audit.refused(refusal, self._proxies.client_of(headers, address))

    async def _named(self, headers: Mapping[str, str], address: str | None) -> Access | None:
        """What the request's key admits to, or who a trusted proxy says it is; None for neither."""
        if not says_who(headers):
            return None
        credentials = credentials_of(headers)
        if credentials.kind is CredentialKind.NONE:
            return await self._named_by_proxy(headers, address)
        if credentials.kind is CredentialKind.TOKEN and credentials.text.count(".") == 2:
            raise KeyRefused("tokens are for the read side; send an API key", "token")
        presented = parse_key(credentials.text) if credentials.kind is CredentialKind.KEY else None
        if presented is None:
            raise KeyRefused("this is not an API key: they look like pmk_…_…", "malformed")
        stored = await self._directory.key(presented)
        self._usage.used(stored.key_id)
        tenant = self._directory.name_of(stored.tenant_id)
        return Access(stored.tenant_id, tenant, stored.scopes, stored.key_id)

    async def _named_by_proxy(
        self, headers: Mapping[str, str], address: str | None
    ) -> Access | None:
        names = [value.strip() for name, value in headers.items() if name.lower() == TENANT_HEADER]
        if not names:
            return None
        if not self._proxies.trusts(address):
            if address not in self._warned and len(self._warned) < MOST_WARNINGS:
                self._warned.add(address)
                log.warning(
                    "X-Scope-OrgID is ignored: not from auth.trusted_proxies", address=address
                )
            return None
        tenant = await self._directory.tenant_named(names[-1])
        return Access(tenant.tenant_id, tenant.name, SCOPES_WITHOUT_KEY, None)
