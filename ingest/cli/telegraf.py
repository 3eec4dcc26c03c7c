"""A telegraf.conf as `[[starlark]]` and `[[route]]` entries of a promgres.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from ingest.config import DEFAULT_PACKS, RouteRule, Settings, StarlarkScript
from ingest.config.document import toml_value
from ingest.errors import ConfigError
from ingest.intake.explain import explain_series
from ingest.routing import Router
from ingest.routing.packs import pack_routes
from ingest.routing.starlark import MEASUREMENT
from ingest.routing.starlark.filters import compile_globs, glob_regex
from ingest.stores import TARGETS

_VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}|\$(\w+)")
_TAKEN = ("namepass", "tagpass", "tagdrop", "constants", "source", "script")
_OF_NO_CONSEQUENCE = {"order", "alias", "log_level"}
_STAGING = "staging_"
_OTHER_FILTERS = ("namedrop", "fieldpass", "fielddrop", "tagexclude", "taginclude", "metricpass")
"""Filters of Telegraf's that have no counterpart here."""


class Converted(NamedTuple):
    """What there is to say in a promgres.toml.

    Attributes:
        starlark, route: the entries, as that file has them.
        left_out: what of Telegraf's file has no place there, for people.
    """

    starlark: list[dict[str, Any]]
    route: list[dict[str, Any]]
    left_out: list[str]


def read_telegraf(text: str, environment: Mapping[str, str]) -> Converted:
    """What of a telegraf.conf decides where series go.

    Args:
        text: the file; `$NAME`, `${NAME}` and `${NAME:-otherwise}` become the variable's value
            wherever they stand, as Telegraf does it; one that is not set stays as it is.

    Raises:
        ConfigError: it is not valid TOML, or not Telegraf's.
    """
    try:
        found = tomllib.loads(_VARIABLE.sub(lambda match: _value(match, environment), text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}") from None
    left_out: list[str] = []
    scripts = enumerate(_plugins(found, "processors", "starlark"))
    starlark = [
        _script(script, f"processors.starlark[{number}]", left_out)
        for number, script in sorted(scripts, key=lambda each: _order(each[1]))
    ]
    routes = list(_routes(_plugins(found, "outputs", "postgresql"), left_out))
    left_out += _others(found)
    return Converted(starlark, routes, left_out)


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    value, otherwise = environment.get(match[1] or match[3]), match[2]
    if otherwise is not None:
        return value or otherwise
    return match[0] if value is None else value


def _plugins(found: Mapping[str, Any], kind: str, name: str) -> list[dict[str, Any]]:
    """`[[kind.name]]`, or the older `[kind.name]`."""
    several = _table(found, kind).get(name, [])
    several = [several] if isinstance(several, dict) else several
    if not isinstance(several, list) or not all(isinstance(one, dict) for one in several):
        raise ConfigError(f"{kind}.{name} is not a table")
    return several


def _table(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = found.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} is not a table")
    return table


def _order(script: Mapping[str, Any]) -> int:
    order = script.get("order", 0)
    return order if isinstance(order, int) else 0


def _script(script: Mapping[str, Any], place: str, left_out: list[str]) -> dict[str, Any]:
    for key in script:
        if key not in _TAKEN and key not in _OF_NO_CONSEQUENCE:
            left_out.append(f"{place}: {key}")
    taken = {key: script[key] for key in _TAKEN if key in script}
    _validated(taken, place)
    return taken


def _validated(script: Mapping[str, Any], place: str) -> StarlarkScript:
    try:
        return StarlarkScript.model_validate(script)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join([place, *map(str, problem["loc"])])
        raise ConfigError(f"{where}: {problem['msg'].removeprefix('Value error, ')}") from None


def _others(found: Mapping[str, Any]) -> Iterator[str]:
    """Plugins that do something, and that are nothing to us."""
    for kind in ("processors", "aggregators", "inputs", "outputs"):
        for name in _table(found, kind):
            if (kind, name) in (("processors", "starlark"), ("outputs", "postgresql")):
                continue
            several = _plugins(found, kind, name)
            takes_writes = [t for t in several if t.get("data_format") == "prometheusremotewrite"]
            # A filter without rules lets all pass: it is there in vain.
            idle = (kind, name) == ("processors", "filter") and not any(
                "rule" in table or table.get("default", "pass") != "pass" for table in several
            )
            if not takes_writes and not idle:
                yield f"{kind}.{name}"
    if found.get("global_tags"):
        yield "global_tags (let Prometheus say them: external_labels)"


def _routes(outputs: Sequence[Mapping[str, Any]], left_out: list[str]) -> Iterator[dict[str, Any]]:
    """A rule, or several, for each output: there a metric goes to every output whose filters it
    passes, here to the first."""
    taken: list[dict[str, Any]] = []
    for number, output in enumerate(outputs):
        place = f"outputs.postgresql[{number}]"
        left_out += [f"{place}: {key}" for key in _OTHER_FILTERS if output.get(key)]
        if taken and not taken[-1]:
            left_out.append(f"{place}: all series are stored already, by the output before it")
            continue
        said = {key: output[key] for key in ("namepass", "tagpass", "tagdrop") if key in output}
        filters = _validated({"source": "", **said}, place)
        # What an output before this one has passed need not be told apart again.
        passed = [one["tagpass"] for one in taken if set(one) == {"tagpass"}]
        drop = {
            tag: values for tag, values in filters.tagdrop.items() if {tag: values} not in passed
        }
        is_any = compile_globs(filters.namepass or "*").fullmatch(MEASUREMENT)
        every = {
            "namepass": [] if is_any else filters.namepass,
            "tagpass": filters.tagpass,
            "tagdrop": drop,
        }
        taken.append({key: value for key, value in every.items() if value})
        schema = str(output.get("schema", "public")).removeprefix(_STAGING)
        target = schema if schema in TARGETS else "internal"
        yield from ({**match, "target": target} for match in _matches(taken[-1]))
    if taken and taken[-1]:
        yield {"drop": True}


def _matches(filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The conditions of an output as those of rules: one rule, or one for each tag that passes."""
    base: dict[str, Any] = {}
    if "namepass" in filters:
        base["name_regex"] = _any_of(filters["namepass"])
    drop = {
        tag: f"(?!(?:{_any_of(values)})\\Z)" for tag, values in filters.get("tagdrop", {}).items()
    }
    for tag, values in filters.get("tagpass", {"": []}).items():
        regexes = {one: f"{refused}(?s:.*)" for one, refused in drop.items()}
        if tag:
            regexes[tag] = f"{drop[tag]}(?:{_any_of(values)})" if tag in drop else _any_of(values)
        match = base | ({"labels_regex": regexes} if regexes else {})
        yield {"match": match} if match else {}


def _any_of(patterns: Sequence[str]) -> str:
    """Patterns as one regular expression, legible where they are plain words."""
    return "|".join(one if re.fullmatch(r"\w+", one) else glob_regex(one) for one in patterns)


def promgres_toml(converted: Converted) -> str:
    """The text of a promgres.toml."""
    lines = [
        "# Written by `promgres config from-telegraf`. `promgres config check` runs the scripts'",
        "# top level, `promgres route --labels '{…}'` says what becomes of a series.",
    ]
    if converted.left_out:
        lines += ["#", "# Of Telegraf's file this is left out:"]
        lines += [f"#   {one}" for one in converted.left_out]
    for script in converted.starlark:
        lines += ["", "[[starlark]]"]
        lines += [f"{key} = {_text(key, value)}" for key, value in script.items()]
    for rule in built_in_differences(converted):
        lines += ["", *(f"# {line}" for line in rule)]
    for route in converted.route:
        lines += ["", "[[route]]"]
        lines += [f"{key} = {toml_value(value)}" for key, value in route.items()]
    return "\n".join(lines) + "\n"


def _text(key: str, value: Any) -> str:
    """A script as it stands there, if a literal string can hold it."""
    is_literal = key == "source" and "'''" not in value and not value.endswith("'")
    if is_literal and (value.isprintable() or value.translate({9: "", 10: ""}).isprintable()):
        return f"'''\n{value}'''"
    return toml_value(value)


def built_in_differences(converted: Converted) -> Iterator[list[str]]:
    """Built-in rules whose metrics go to another target than they would without these entries:
    what to write to have them back, and why one may want that.

    Raises:
        ConfigError: a script is wrong, or cannot be run here.
    """
    if not converted.route:
        return
    scripts = [StarlarkScript.model_validate(one) for one in converted.starlark]
    rules = [RouteRule.model_validate(one) for one in converted.route]
    router = Router(Settings.model_construct(starlark=scripts, route=rules))
    for pack in DEFAULT_PACKS:
        for name, rule in pack_routes(pack).rules.items():
            there = {
                explained.described.decision.target
                for metric in rule.match.name
                if (explained := explain_series(router, [(b"__name__", metric.encode())])).described
            }
            if there - {rule.target}:
                yield [
                    f"As with Telegraf, metrics of the built-in rule `{name}` go to target"
                    f" {', '.join(sorted(there))}.",
                    f"Functions of pack {pack} read them in target {rule.target}: with this they"
                    " find them.",
                    "[[route]]",
                    f"match = {{ name = {toml_value(rule.match.name)} }}",
                    f'target = "{rule.target}"',
                    f'schema = "{rule.schema_}"',
                ]
