"""Telegraf's filters: which metrics something is for, by patterns of their name and tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ingest.errors import ConfigError

_TOKEN = re.compile(r"\\(.)|\[(!?)([^\]]+)\]|(.)", re.DOTALL)


def glob_regex(pattern: str) -> str:
    """One of Telegraf's patterns as a regular expression that is to be matched whole.

    `*` is any text, `?` any character, `[a-z]` and `[!a-z]` are one of some, `{a,b*}` is one of
    several patterns; a backslash takes a character as it is.
    """
    parts, depth = [], 0
    for escaped, negated, characters, other in _TOKEN.findall(pattern):
        if characters:
            inside = "".join(one if one == "-" else re.escape(one) for one in characters)
            parts.append(f"[{'^' if negated else ''}{inside}]")
        elif other in ("*", "?"):
            parts.append(".*" if other == "*" else ".")
        elif other == "{":
            depth += 1
            parts.append("(?:")
        elif depth and other in (",", "}"):
            depth -= other == "}"
            parts.append("|" if other == "," else ")")
        else:
            parts.append(re.escape(escaped or other))
    return f"(?s:{''.join(parts)})"


def compile_globs(patterns: Iterable[str]) -> re.Pattern[str]:
    """What matches, whole, the texts that one of the patterns takes.

    Raises:
        ConfigError: a pattern is none.
    """
    regexes = []
    for pattern in patterns:
        regexes.append(glob_regex(pattern))
        try:
            re.compile(regexes[-1])
        except re.error as error:
            raise ConfigError(f"pattern {pattern!r}: {error}") from None
    return re.compile("|".join(regexes))


class MetricFilter:
    """Which metrics pass: every filter that is given has to agree, by one of its patterns.

    Args:
        namepass: patterns of names; none: every name passes.
        tagpass: patterns of values by tag; a metric needs one such tag. None: it needs none.
        tagdrop: the same; a metric with one such tag does not pass.

    Raises:
        ConfigError: a pattern is none.
    """

    def __init__(
        self,
        namepass: Iterable[str],
        tagpass: Mapping[str, Iterable[str]],
        tagdrop: Mapping[str, Iterable[str]],
    ) -> None:
        names = tuple(namepass)
        self._name = compile_globs(names) if names else None
        self._pass = {tag: compile_globs(values) for tag, values in tagpass.items()}
        self._drop = {tag: compile_globs(values) for tag, values in tagdrop.items()}

    def passes(self, name: str, tags: Mapping[str, str]) -> bool:
        """Whether a metric passes; a tag that it lacks matches no pattern."""
        if self._name is not None and not self._name.fullmatch(name):
            return False
        if self._pass and not _matches(self._pass, tags):
            return False
        return not (self._drop and _matches(self._drop, tags))


def _matches(patterns: Mapping[str, re.Pattern[str]], tags: Mapping[str, str]) -> bool:
    return any(tag in tags and regex.fullmatch(tags[tag]) for tag, regex in patterns.items())
