"""What a request may do, and for whom."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from ingest.model import DEFAULT_TENANT_ID, TenantId

READ, WRITE, ADMIN = "read", "write", "admin"


class Access(NamedTuple):
    """What a request is admitted to.

    Attributes:
        scopes: as its key says; `admin` implies the others.
        key_id: of the key that it came with, None without one.
    """

    tenant_id: TenantId
    tenant: str
    scopes: frozenset[str]
    key_id: str | None

    @property
    def counted_as(self) -> Hashable:
        """Who is meant where each has their share: the key, else the tenant."""
        return self.key_id or self.tenant_id

    def allows(self, scope: str) -> bool:
        """Whether it may do what `scope` stands for."""
        return scope in self.scopes or ADMIN in self.scopes

    def sees(self, tenant: str) -> bool:
        """Whether what is labelled with this tenant's name may be shown: its own, and to an
        administrator of `default` everybody's."""
        is_everybodys = self.tenant_id == DEFAULT_TENANT_ID and ADMIN in self.scopes
        return is_everybodys or tenant == self.tenant
