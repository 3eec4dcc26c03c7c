"""All scripts of the settings, one after the other, and what they make of a series in the end."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

from starlark import StarlarkList
from starlark.values import starlark_type

from ingest.config import Settings, StarlarkScript
from ingest.errors import ConfigError, InvalidSeries
from ingest.model import METRIC_NAME, Labels
from ingest.routing.starlark import MEASUREMENT, SCRIPT_REFUSALS, Outcome
from ingest.routing.starlark.engine import Run, Script
from ingest.routing.starlark.filters import MetricFilter
from ingest.routing.starlark.metric import Metric, Watched
from ingest.text import one_line

MOST_BYTES, PLAN_BYTES = 32 * 1024 * 1024, 1000
"""Memory of all that is remembered, and of one plan besides its texts."""
MOST_COMBINATIONS = 20
"""Sets of tags that scripts look at; what is beyond is remembered for each series."""
LONGEST_SCHEMA = 100


class _Plan(NamedTuple):
    """What scripts make of all series that look the same to them.

    Attributes:
        name: the metric's name as it is stored.
        written: tags that they put in, and (None) take out.
        schema, dropped_by: as an Outcome has them.
    """

    name: str
    written: Mapping[str, str | None] = {}
    schema: str | None = None
    dropped_by: str | None = None


class Scripts:
    """The scripts of `[[starlark]]`.

    They see no value and no time, and keep nothing in between, so what they say is true for ever of
    every series of that name whose tags are the same as far as they look. Most look at a few tags:
    then they are run once for each combination of those, else once for each series; a series that
    is asked about again (whose value label changes, that is refused) is remembered either way.

    Raises:
        ConfigError: a script is wrong, or cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.limits
        self._scripts = [
            _compiled(f"starlark[{number}]", script)
            for number, script in enumerate(settings.starlark)
        ]
        self._of_filters = _tags_of_filters(settings)
        # By the tags that were looked at: plans by the metric's name and what these tags said.
        # Plans of those that look at all are by all labels, under no tags.
        self._plans: dict[tuple[str, ...], dict[tuple[Any, ...], _Plan | str]] = {(): {}}
        self._bytes = 0

    def ask(self, labels: Labels) -> Outcome:
        """What the scripts make of a series.

        Args:
            labels: sorted and valid, without a value label that was taken.

        Raises:
            InvalidSeries: a script fails, or what it returns cannot be stored.
        """
        tags = dict(labels)
        name = tags.pop(METRIC_NAME)
        plan = self._plans[()].get(labels)
        for seen, plans in self._plans.items():
            if plan is not None:
                break
            plan = plans.get((name, *map(tags.get, seen)))
        if plan is None:
            plan = self._learn(labels, name, Watched(tags))
        if isinstance(plan, str):
            SCRIPT_REFUSALS.inc()
            raise InvalidSeries(plan)
        return self._outcome(plan, labels, tags)

    def _learn(self, labels: Labels, name: str, tags: Watched) -> _Plan | str:
        """Run the scripts, and remember what is true of more series than this one."""
        try:
            plan: _Plan | str = self._run(name, tags)
        except InvalidSeries as error:
            plan = str(error)
        seen = tuple(tags.seen)
        is_for_one = tags.is_seen_whole or (
            seen not in self._plans and len(self._plans) > MOST_COMBINATIONS
        )
        key = labels if is_for_one else (name, *tags.seen.values())
        more_bytes = PLAN_BYTES + _characters(key) + _characters(tuple(tags.written.items()))
        if self._bytes + more_bytes > MOST_BYTES:
            self._plans, self._bytes = {(): {}}, 0
        self._bytes += more_bytes
        self._plans.setdefault(() if is_for_one else seen, {})[key] = plan
        return plan

    def _run(self, name: str, tags: Watched) -> _Plan:
        run = Run(self._limits.script_steps, self._limits.script_memory_bytes)
        metric = Metric(MEASUREMENT, tags, {name: run.value}, run.time, run.mutability)
        for script_name, is_for, script in self._scripts:
            if not is_for.passes(metric.name, metric.tags):
                continue
            one = _only(script_name, script.apply(metric, run))
            if one is None:
                return _Plan(name, dropped_by=script_name)
            metric = one
        try:
            stored, schema = _name_and_schema(metric, run.value, name)
        except InvalidSeries as error:
            raise InvalidSeries(f"[[starlark]]: {error}") from None
        if stored is None:
            return _Plan(name, dropped_by="[[starlark]] (no field is left)")
        if metric.tags is tags:
            return _Plan(stored, tags.written, schema)
        # Another metric: none of the tags that were sent is left but for those that it has.
        return _Plan(stored, dict.fromkeys(tags) | dict(metric.tags), schema)

    def _outcome(self, plan: _Plan, labels: Labels, sent: dict[str, str]) -> Outcome:
        """A series as the plan says; `sent` are its tags."""
        if plan.dropped_by is not None:
            return Outcome(labels, {}, dropped_by=plan.dropped_by)
        asked = {**sent, **plan.written, METRIC_NAME: plan.name}
        stored = [
            (label, text)
            for label, text in asked.items()
            if text and (label in sent or label not in self._of_filters)
        ]
        given = {label: text for label, text in asked.items() if text is not None}
        return Outcome(tuple(sorted(stored)), given, plan.schema)


def _characters(texts: tuple[Any, ...]) -> int:
    """Of all texts in a tuple, and in the tuples in it."""
    flat = chain.from_iterable(one if isinstance(one, tuple) else (one,) for one in texts)
    return sum(len(text) for text in flat if text is not None)


def _compiled(name: str, script: StarlarkScript) -> tuple[str, MetricFilter, Script]:
    source = script.source
    if script.script is not None:
        name = f"{name} ({script.script})"
        try:
            source = script.script.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not valid UTF-8"
            raise ConfigError(f"{name}: {reason}") from None
    assert source is not None
    try:
        is_for = MetricFilter(script.namepass, script.tagpass, script.tagdrop)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    return name, is_for, Script(name, source, script.constants)


def _tags_of_filters(settings: Settings) -> frozenset[str]:
    """Tags that are there for the sake of filters: added by a script they are no labels."""
    asked = {tag for one in settings.starlark for tag in (*one.tagpass, *one.tagdrop)}
    for rule in settings.route:
        asked.update(rule.match.labels, rule.match.labels_regex)
    kept = {tag for one in settings.starlark for tag in one.keep}
    return frozenset(asked - kept - {METRIC_NAME})


def _only(script: str, returned: Any) -> Metric | None:
    """The metric that a script returned, None if there is none.

    Raises:
        InvalidSeries: it returned anything else, or several.
    """
    several = list(returned) if isinstance(returned, StarlarkList) else [returned]
    if not several or (len(several) == 1 and several[0] is None):
        return None
    if len(several) > 1:
        raise InvalidSeries(
            f"{script}: apply returned {len(several)} metrics; a series can become one, or none"
        )
    if not isinstance(several[0], Metric):
        kind = starlark_type(several[0])
        raise InvalidSeries(f"{script}: apply returned a {kind}, not a metric, a list or None")
    return several[0]


def _name_and_schema(metric: Metric, value: object, sent: str) -> tuple[str | None, str | None]:
    """The metric name and route.schema that a metric's fields say; no name where it has no fields.

    One field carries the value. A text `name` names the series, else the key of that field unless
    it is `value`, else the measurement if a script has changed it. Where that is the name as it was
    sent, but for its case, the label stays as it was sent.

    Raises:
        InvalidSeries: there is a field that has no place in a sample, or says what it cannot be.
    """
    fields = dict(metric.values)
    if not fields:
        return None, None
    texts = {key: fields.pop(key) for key in ("name", "schema") if isinstance(fields.get(key), str)}
    keys = [key for key, content in fields.items() if content is value]
    if len(keys) < len(fields):
        other = next(key for key in fields if key not in keys)
        raise InvalidSeries(f"field {one_line(other)!r} has no place in a sample: make it a tag")
    if not keys:
        raise InvalidSeries("no field is left that carries the value of the sample")
    names = [key for key in keys if key != "value"] or [metric.name]
    schema = texts.get("schema")
    if schema is not None and not (schema.isprintable() and 1 <= len(schema) <= LONGEST_SCHEMA):
        raise InvalidSeries(f"the schema must have 1 to {LONGEST_SCHEMA} printable characters")
    if "name" not in texts and len(names) > 1:
        raise InvalidSeries(
            f"{len(names)} fields carry the value; one may, or there must be a field `name`"
        )
    name = texts.get("name", names[0])
    unnamed = name == MEASUREMENT and "name" not in texts
    if not name:
        raise InvalidSeries("the metric name is empty")
    return sent if unnamed or name.lower() == sent.lower() else name, schema
