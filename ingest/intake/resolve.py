"""Labels become a series: its route, its exact value, its identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ingest.errors import InvalidSeries
from ingest.model import METRIC_NAME, Label, Labels, Series, TenantId
from ingest.routing.router import Decision, Router, is_decimal, lower_name
from ingest.routing.starlark import Outcome
from ingest.series.identity import encode_label, identity_of
from ingest.wire.validate import check_length, checked_labels


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


def describe(
    router: Router,
    tenant_id: TenantId,
    labels: Labels,
    encoded: Callable[[Label], bytes] = encode_label,
) -> Described:
    """Route and identify a label set.

    Args:
        labels: sorted and valid (`ingest.wire.validate.checked_labels`).
        encoded: `ingest.series.identity.encode_label` of whoever knows some already.

    Raises:
        InvalidSeries: a script fails at it, or makes labels of it that cannot be stored.
    """
    asked: Mapping[str, str] = dict(labels)
    name = lower_name(asked[METRIC_NAME])
    labels, value_label, exact = _without_value(router, name, labels)
    if router.scripts is None:
        decision = router.decide(name, asked)
    else:
        outcome = router.scripts.ask(labels)
        asked = outcome.asked
        if outcome.labels != labels:
            labels = _checked(outcome.labels)
            name = lower_name(dict(labels)[METRIC_NAME])
            if value_label is None:  # whoever is renamed may have one now
                labels, value_label, exact = _without_value(router, name, labels)
        decision = _decide(router, name, outcome)
    identity = identity_of(tenant_id, decision.target, decision.schema, labels, encoded)
    series = Series(identity, tenant_id, decision.target, decision.schema, name, labels)
    return Described(series, decision, value_label, exact)


def _without_value(
    router: Router, name: str, labels: Labels
) -> tuple[Labels, str | None, str | None]:
    """Labels without the one that carries an exact value, its name if there is one, its text if
    that was taken."""
    value_label = router.value_label(name)
    text = dict(labels).get(value_label) if value_label is not None else None
    if text is None:
        return labels, None, None
    if not is_decimal(text):
        return labels, value_label, None
    return tuple(label for label in labels if label[0] != value_label), value_label, text


def _decide(router: Router, name: str, outcome: Outcome) -> Decision:
    """What the rules say of a series that the scripts have seen."""
    if outcome.dropped_by is not None:
        return Decision(outcome.dropped_by, "internal", "common", drop=True)
    decision = router.decide(name, outcome.asked)
    if outcome.schema is None:
        return decision
    return decision._replace(rule=f"{decision.rule}, [[starlark]]", schema=outcome.schema)


def _checked(labels: Labels) -> Labels:
    """Labels as a script left them, if they can be stored."""
    try:
        pairs = [(name.encode(), text.encode()) for name, text in labels]
    except UnicodeEncodeError:
        raise InvalidSeries("[[starlark]]: a tag is not valid Unicode") from None
    check_length(
        sum([len(name) + len(text) for name, text in pairs]), "[[starlark]]: the labels have"
    )
    return checked_labels(pairs)
