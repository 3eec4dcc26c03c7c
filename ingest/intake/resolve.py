"""Labels become a series: its route, its exact value, its identity."""

from __future__ import annotations

from typing import NamedTuple

from ingest.model import METRIC_NAME, Labels, Series, TenantId
from ingest.routing.router import Decision, Router, is_decimal, lower_name
from ingest.series.identity import identity_of


class Described(NamedTuple):
    """What is to know of a label set.

    Attributes:
        series: the series as the catalogue holds it, without a value label that was taken.
        decision: what the first matching rule says.
        value_label: the value label that the series carries, taken or not.
        exact: the decimal text that was taken out of it.
    """

    series: Series
    decision: Decision
    value_label: str | None
    exact: str | None


def describe(router: Router, tenant_id: TenantId, labels: Labels) -> Described:
    """Route and identify a label set.

    Args:
        labels: sorted and valid (`ingest.wire.validate.checked_labels`).
    """
    by_name = dict(labels)
    name = lower_name(by_name[METRIC_NAME])
    decision = router.decide(name, by_name)
    value_label = router.value_label(name)
    text = by_name.get(value_label) if value_label is not None else None
    exact = text if text is not None and is_decimal(text) else None
    if exact is not None:
        labels = tuple(label for label in labels if label[0] != value_label)
    identity = identity_of(tenant_id, decision.target, decision.schema, labels)
    series = Series(identity, tenant_id, decision.target, decision.schema, name, labels)
    return Described(series, decision, value_label if text is not None else None, exact)
