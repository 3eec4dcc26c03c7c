"""All scripts of the settings, one after the other, and what they make of a series in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlark import StarlarkList
from starlark.values import starlark_type

from ingest.config import Settings, StarlarkScript
from ingest.errors import ConfigError, InvalidSeries
from ingest.model import METRIC_NAME, Labels
from ingest.routing.starlark import MEASUREMENT, SCRIPT_REFUSALS, Outcome
from ingest.routing.starlark.engine import Run, Script
from ingest.routing.starlark.filters import MetricFilter
from ingest.routing.starlark.metric import Metric
from ingest.text import one_line

MOST_REMEMBERED = 10_000
LONGEST_SCHEMA = 100


class Scripts:
    """The scripts of `[[starlark]]`.

    They see no value and no time, and keep nothing in between, so what they say of a label set is
    true for ever: series that are asked about again and again (whose value label changes, or that
    are refused) are remembered.

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
        self._remembered: dict[Labels, Outcome | str] = {}

    def ask(self, labels: Labels) -> Outcome:
        """What the scripts make of a series.

        Args:
            labels: sorted and valid, without a value label that was taken.

        Raises:
            InvalidSeries: a script fails, or what it returns cannot be stored.
        """
        found = self._remembered.get(labels)
        if found is None:
            try:
                found = self._ask(labels)
            except InvalidSeries as error:
                found = str(error)
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[labels] = found
        if isinstance(found, str):
            SCRIPT_REFUSALS.inc()
            raise InvalidSeries(found)
        return found

    def _ask(self, labels: Labels) -> Outcome:
        run = Run(self._limits.script_steps, self._limits.script_memory_bytes)
        tags = dict(labels)
        sent = tags.pop(METRIC_NAME)
        metric = Metric(MEASUREMENT, tags, {sent: run.value}, run.time, run.mutability)
        for name, is_for, script in self._scripts:
            if not is_for.passes(metric.name, metric.tags):
                continue
            one = _only(name, script.apply(metric, run))
            if one is None:
                return Outcome(labels, {}, dropped_by=name)
            metric = one
        try:
            return self._outcome(metric, run.value, dict(labels))
        except InvalidSeries as error:
            raise InvalidSeries(f"[[starlark]]: {error}") from None

    def _outcome(self, metric: Metric, value: object, sent: Mapping[str, str]) -> Outcome:
        """The metric that is left, as a series again."""
        name, schema = _name_and_schema(metric, value, sent[METRIC_NAME])
        if name is None:
            return Outcome(tuple(sent.items()), {}, dropped_by="[[starlark]] (no field is left)")
        if schema is not None and not (schema.isprintable() and 1 <= len(schema) <= LONGEST_SCHEMA):
            raise InvalidSeries(f"the schema must have 1 to {LONGEST_SCHEMA} printable characters")
        asked = metric.tags | {METRIC_NAME: name}
        labels = {
            label: text
            for label, text in asked.items()
            if text and (label in sent or label not in self._of_filters)
        }
        return Outcome(tuple(sorted(labels.items())), asked, schema)


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
        InvalidSeries: there is a field that has no place in a sample.
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
    if "name" not in texts and len(names) > 1:
        raise InvalidSeries(
            f"{len(names)} fields carry the value; one may, or there must be a field `name`"
        )
    name = texts.get("name", names[0])
    unnamed = name == MEASUREMENT and "name" not in texts
    if not name:
        raise InvalidSeries("the metric name is empty")
    return sent if unnamed or name.lower() == sent.lower() else name, texts.get("schema")
