"""Rules compiled once, asked once a series."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ingest.config import DEFAULT_PACKS, RouteRule, Settings
from ingest.routing.packs import DEFAULT_ROUTE, pack_routes
from ingest.routing.starlark import load_scripts

_DECIMAL = re.compile(r"[+-]?[0-9]{1,100}(\.[0-9]{1,100})?")
_UPPER_TO_LOWER = {ord(letter): ord(letter.lower()) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


class Decision(NamedTuple):
    """What the first matching rule says of a series.

    `rule` names it for people: `route[0]` (the first `[[route]]`), `built-in cumsum`, `no rule`.
    """

    rule: str
    target: str
    schema: str
    drop: bool


def lower_name(name: str) -> str:
    """A metric name as rules, SQL and /rpc know it: ASCII letters in lower case."""
    return name.translate(_UPPER_TO_LOWER)


def is_decimal(text: str) -> bool:
    """Whether a value label can be stored as NUMERIC: ASCII digits, at most 100 on each side."""
    return _DECIMAL.fullmatch(text) is not None


class Router:
    """Decides target and schema of a series, and knows the value labels.

    Args:
        settings: `route` and `value_label` come first, then those of packs unless
            `builtin_routes` or `builtin_value_labels` is false. Of several value labels of one
            metric the first counts.
        packs: of the database; None where none is asked: those of the settings, else of a new one.

    Attributes:
        asked_labels: names of the labels that some rule looks at.
        scripts: what is asked about a series before the rules are; None if there are none.

    Raises:
        ConfigError: a script of the settings is wrong, or cannot be run here.
    """

    def __init__(self, settings: Settings, packs: Collection[str] | None = None) -> None:
        if packs is None:
            packs = DEFAULT_PACKS if settings.packs is None else settings.packs
        built_in = [pack_routes(pack) for pack in sorted(packs)]
        named = [(f"route[{index}]", rule) for index, rule in enumerate(settings.route)]
        if settings.builtin_routes:
            named += [
                (f"built-in {name}", rule) for each in built_in for name, rule in each.rules.items()
            ]
        rules = [_Rule(name, rule) for name, rule in named]
        self._otherwise = _Rule("no rule", DEFAULT_ROUTE).decision
        # Most rules name their metrics: of any one metric, few are left to be asked.
        self._rules_of_others = [rule for rule in rules if not rule.names]
        self._rules_of = {
            name: [each for each in rules if not each.names or name in each.names]
            for rule in rules
            for name in rule.names
        }
        asked = {label for rule in rules for label in rule.asked_labels}
        self.asked_labels = tuple(sorted(asked))
        entries = list(settings.value_label)
        if settings.builtin_value_labels:
            entries += [entry for each in built_in for entry in each.value_labels]
        self.scripts = load_scripts(settings)
        self._value_labels: dict[str, str] = {}
        for entry in entries:
            self._value_labels.setdefault(lower_name(entry.name), entry.label)

    def decide(self, name: str, labels: Mapping[str, str]) -> Decision:
        """Where a series goes.

        Args:
            name: its metric name in lower case (`lower_name`).
            labels: all its labels as sent, `__name__` too.
        """
        for rule in self._rules_of.get(name, self._rules_of_others):
            if rule.matches(name, labels):
                return rule.decision
        return self._otherwise

    def value_label(self, name: str) -> str | None:
        """The label that carries the exact value of a metric, by its name in lower case."""
        return self._value_labels.get(name)


class _Rule:
    """One `[[route]]`, compiled. A label that a series lacks counts as empty, as in PromQL.

    Attributes:
        names: metrics that it is for; none: any.
    """

    def __init__(self, name: str, rule: RouteRule) -> None:
        match = rule.match
        self.decision = Decision(name, rule.target, rule.schema_, rule.drop)
        self.names = frozenset(lower_name(name) for name in match.name)
        self._name_regex = re.compile(match.name_regex) if match.name_regex is not None else None
        self._labels = tuple(match.labels.items())
        self._label_regexes = tuple(
            (label, re.compile(pattern)) for label, pattern in match.labels_regex.items()
        )

    @property
    def asked_labels(self) -> list[str]:
        return [label for label, _ in (*self._labels, *self._label_regexes)]

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether it holds for a series of one of its metrics."""
        if self._name_regex is not None and not self._name_regex.fullmatch(name):
            return False
        for label, value in self._labels:
            if labels.get(label, "") != value:
                return False
        return all(regex.fullmatch(labels.get(label, "")) for label, regex in self._label_regexes)
