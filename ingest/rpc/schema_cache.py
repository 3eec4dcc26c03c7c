"""What the read side remembers of the database: functions, roles, tenants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from ingest.auth.tokens import ANONYMOUS_ROLE, Claims
from ingest.errors import PromgresError, QueryRefused, RoleRefused, Unavailable
from ingest.http.problems import Problem
from ingest.model import DEFAULT_TENANT_ID, TenantId
from ingest.rpc.functions import Catalogue, Function, Given, parse_catalogue
from ingest.rpc.role_settings import NOTHING_SET, RoleSettings, parse_role_settings
from ingest.storage.read import NOT_FOR_US, ReadDatabase

TENANT_SECONDS = 5.0
"""How long an id is remembered for a tenant's name."""

ROLE_SECONDS = 5.0
"""How long settings of roles are remembered: nothing tells us that they change."""

MOST_TENANTS = 1000


class SchemaCache:
    """Remembers, and looks again as soon as something is asked for that it does not know."""

    def __init__(self, database: ReadDatabase, schemas: Sequence[str]) -> None:
        self.schemas = schemas
        self._database = database
        self._catalogues: dict[str, Catalogue] | None = None
        self._looked_at = 0.0
        self._failure: PromgresError | None = None
        self._looking = asyncio.Lock()
        self._tenants: dict[str, tuple[TenantId, float]] = {}
        self._role_settings: dict[str, RoleSettings] = {}
        self._roles_looked_at = -ROLE_SECONDS

    async def catalogue(
        self, not_before: float | None = None, schema: str | None = None
    ) -> Catalogue:
        """Functions and roles.

        Args:
            schema: the first one, if none is named.
            not_before: `time.monotonic()`; what was seen earlier is not good enough. Requests that
                ask at the same moment share one look.

        Raises:
            Unavailable: the database is away.
            Problem: 503, it is not migrated.
        """
        if self._catalogues is not None and not_before is None:
            return self._catalogues[schema or self.schemas[0]]
        wanted_since = time.monotonic() if not_before is None else not_before
        async with self._looking:
            if self._looked_at < wanted_since:
                await self._look()
            if self._failure:
                raise self._failure  # those who waited for this look share what it met
            assert self._catalogues is not None
            return self._catalogues[schema or self.schemas[0]]

    async def function(
        self,
        schema: str,
        name: str,
        given: Given,
        role: str,
        not_before: float | None = None,
    ) -> Function:
        """The function of that name that takes these arguments; one that is unknown is looked for.

        Args:
            role: who asks; what it may not execute is not named to it.

        Raises:
            Problem: 404, there is none; 300, there are several.
        """
        asked_at = time.monotonic()
        matches = (await self.catalogue(not_before, schema)).find(name, given)
        if not matches:
            matches = (await self.catalogue(asked_at, schema)).find(name, given)
        if len(matches) == 1:
            return matches[0]
        visible = await self._visible_to(role, schema)
        raise visible.ambiguous(name, given) if matches else visible.not_found(name, given)

    async def _visible_to(self, role: str, schema: str) -> Catalogue:
        """The functions that a role may execute."""
        catalogue = await self.catalogue(schema=schema)
        oids = [each.oid for overloads in catalogue.functions.values() for each in overloads]
        return catalogue.limited_to(await self._database.executable(role, oids))

    async def is_function(self, schema: str, name: str) -> bool:
        """Whether there is a function of that name, as far as is known."""
        return name in (await self.catalogue(schema=schema)).functions

    async def argument_names(
        self, schema: str, name: str, wanted: frozenset[str]
    ) -> frozenset[str]:
        """Of the arguments of all functions of that name, those that are wanted."""
        asked_at = time.monotonic()
        catalogue = await self.catalogue(schema=schema)
        if name not in catalogue.functions:
            catalogue = await self.catalogue(asked_at, schema)
        return catalogue.argument_names(name) & wanted

    async def overloads(self, schema: str, name: str, role: str) -> tuple[Function, ...]:
        """Every function of that name.

        Args:
            role: as for `function`.

        Raises:
            Problem: 404, there is none.
        """
        asked_at = time.monotonic()
        found = (await self.catalogue(schema=schema)).functions.get(name)
        if not found:
            catalogue = await self.catalogue(asked_at, schema)
            found = catalogue.functions.get(name)
            if not found:
                raise (await self._visible_to(role, schema)).not_found(name, Given(frozenset()))
        return found

    async def role_of(self, claims: Claims) -> str:
        """The role that a request gets.

        Raises:
            RoleRefused: the token's role is none that `authenticator` is a member of.
        """
        role = claims.role
        asked_at = time.monotonic()
        if role == ANONYMOUS_ROLE:
            return ANONYMOUS_ROLE
        if not isinstance(role, str):
            raise RoleRefused(role)
        if role in (await self.catalogue()).roles:
            return role
        if role not in (await self.catalogue(asked_at)).roles:
            raise RoleRefused(role)
        return role

    async def role_settings(self, role: str) -> RoleSettings:
        """What is set for a role.

        Raises:
            Unavailable: the database is away.
        """
        now = time.monotonic()
        if now - self._roles_looked_at >= ROLE_SECONDS:
            self._roles_looked_at = now  # whoever asks meanwhile has what is known
            try:
                self._role_settings = parse_role_settings(await self._database.role_settings())
            except BaseException:
                self._roles_looked_at = -ROLE_SECONDS
                raise
        return self._role_settings.get(role, NOTHING_SET)

    async def tenant_id_of(self, claims: Claims) -> TenantId:
        """The tenant whose data a request sees: the token's, else `default`.

        Raises:
            Problem: 403, there is no such tenant.
        """
        name = claims.values.get("tenant")
        if name is None:
            return DEFAULT_TENANT_ID
        if not isinstance(name, str) or not name.isprintable():
            raise _no_tenant(name)
        known = self._tenants.get(name)
        if known and time.monotonic() - known[1] < TENANT_SECONDS:
            return known[0]
        return await self._look_up_tenant(name)

    async def _look_up_tenant(self, name: str) -> TenantId:
        asked_at = time.monotonic()
        number = await self._database.tenant_id(name)
        if number is None:
            self._tenants.pop(name, None)
            raise _no_tenant(name)
        if len(self._tenants) >= MOST_TENANTS:
            self._tenants.clear()
        self._tenants[name] = (number, asked_at)
        return number

    async def _look(self) -> None:
        started = time.monotonic()
        self._failure = None
        try:
            document = await self._database.catalogue(self.schemas)
            self._catalogues = parse_catalogue(document, self.schemas)
        except Unavailable as error:
            self._failure = error
        except QueryRefused as error:
            self._failure = error
            if error.sqlstate in NOT_FOR_US:
                self._failure = Problem(
                    503,
                    "PGRST002",
                    "Could not query the database for the schema cache. Retrying.",
                    "The database is not migrated",
                    "Run `promgres migrate`",
                )
        self._looked_at = started


def _no_tenant(name: object) -> Problem:
    return Problem(403, "42501", f'the token\'s tenant "{name}" does not exist')
