"""Round robin among tenants, whatever each of them has waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from ingest.model import TenantId

T = TypeVar("T")


class RoundRobin(Generic[T]):
    """A queue for each tenant, served by turns: one with much in its queue delays only itself."""

    def __init__(self) -> None:
        self._queues: dict[TenantId, deque[T]] = {}

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __contains__(self, tenant_id: TenantId) -> bool:
        """Whether something of a tenant waits."""
        return tenant_id in self._queues

    def __len__(self) -> int:
        """Tenants of which something waits."""
        return len(self._queues)

    def put(self, tenant_id: TenantId, item: T) -> None:
        """Behind all of the tenant."""
        self._queues.setdefault(tenant_id, deque()).append(item)

    def peek(self) -> T | None:
        """What `pop` would return."""
        for queue in self._queues.values():
            return queue[0]
        return None

    def pop(self, may: Callable[[TenantId], bool] = lambda _: True) -> T | None:
        """The oldest item of the next tenant that may have a turn; None if none may."""
        for tenant_id in self._queues:
            if may(tenant_id):
                queue = self._queues.pop(tenant_id)
                item = queue.popleft()
                if queue:
                    self._queues[tenant_id] = queue  # behind the others
                return item
        return None

    def remove(self, tenant_id: TenantId, item: T) -> None:
        """It waits no longer, if it does."""
        queue = self._queues.get(tenant_id)
        if queue and item in queue:
            queue.remove(item)
            if not queue:
                del self._queues[tenant_id]
