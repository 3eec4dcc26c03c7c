"""All tenants and keys at one moment, as the database hands them out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from ingest.auth.keys import StoredKey
from ingest.model import DEFAULT_TENANT_ID, TenantId, TenantLimits

DEFAULT_TENANT = "default"


class Tenant(NamedTuple):
    """One tenant."""

    tenant_id: TenantId
    name: str
    limits: TenantLimits


_DEFAULT = Tenant(DEFAULT_TENANT_ID, DEFAULT_TENANT, TenantLimits())


@dataclass(frozen=True)
class Snapshot:
    """What `internal.key_directory()` said; before it has said anything, the tenant `default`.

    Attributes:
        version: another one whenever a tenant or a key is.
        keys: by key id.
        tenants: by tenant id.
    """

    version: int | None = None
    keys: Mapping[str, StoredKey] = field(default_factory=dict)
    tenants: Mapping[int, Tenant] = field(default_factory=lambda: {DEFAULT_TENANT_ID: _DEFAULT})

    def tenant_named(self, name: str) -> Tenant | None:
        """The tenant of that name."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> Mapping[str, Tenant]:
        return {tenant.name: tenant for tenant in self.tenants.values()}


def parse_snapshot(document: str) -> Snapshot:
    """Read the document of `internal.key_directory()`."""
    parsed = json.loads(document)
    tenants = [_tenant(each) for each in parsed["tenants"]]
    keys = [_key(each) for each in parsed["keys"]]
    return Snapshot(
        parsed["version"],
        {key.key_id: key for key in keys},
        {tenant.tenant_id: tenant for tenant in tenants},
    )


def _tenant(row: Mapping[str, Any]) -> Tenant:
    limits = {name: row["limits"].get(name) for name in TenantLimits._fields}
    return Tenant(row["tenant_id"], row["name"], TenantLimits(**limits))


def _key(row: Mapping[str, Any]) -> StoredKey:
    return StoredKey(
        key_id=row["key_id"],
        tenant_id=row["tenant_id"],
        scopes=frozenset(row["scopes"]),
        salt=bytes.fromhex(row["salt"]),
        hash=bytes.fromhex(row["hash"]),
        expires_at=row["expires_at"],
        is_revoked=row["revoked"],
    )
