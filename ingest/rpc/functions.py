"""The functions that /rpc exposes, and which of them a request means."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from ingest.http.problems import Problem
from ingest.rpc.role_settings import function_timeout

SCHEMA = "api"
LEAST_SIMILARITY = 0.5
SCALAR_COLUMN = "pgrst_scalar"
"""What a result without columns is called: in its CSV, and by filters and orders."""

Result = Literal["void", "scalar", "row", "record"]
"""`row` has columns that are known beforehand, `record` has not."""


class Given(NamedTuple):
    """What a request calls a function with.

    Attributes:
        names: of arguments; None for a body that is one argument.
        body_types: that the argument may have which takes the whole body.
        any_name: such an argument may have a name.
    """

    names: frozenset[str] | None
    body_types: tuple[str, ...] = ()
    any_name: bool = False


@dataclass(frozen=True, slots=True)
class Argument:
    """An input argument; `sql_type`, and `default` if it has one, are spelled as SQL."""

    name: str
    sql_type: str
    required: bool
    variadic: bool
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """One function, as `internal.api_catalogue_of()` describes it.

    Attributes:
        oid: the function's row in `pg_proc`.
        version: changes with every change of definition or grants.
        volatile: only then may it write, and only by POST.
        returns_set: many rows or values, answered as an array.
        sql_type: of the result.
        columns: of a `row`, in order.
        types: of these columns.
        timeout_seconds: of the statement that calls it, if ALTER FUNCTION says one.
    """

    oid: int
    version: str
    name: str
    comment: str | None
    volatile: bool
    returns_set: bool
    result: Result
    columns: tuple[str, ...]
    arguments: tuple[Argument, ...]
    sql_type: str = "text"
    types: tuple[str, ...] = ()
    timeout_seconds: float | None = None
    schema: str = SCHEMA

    def __hash__(self) -> int:
        return hash((self.oid, self.version))

    @property
    def unnamed_type(self) -> str | None:
        """The type of its only argument, if that has no name: it takes a whole body."""
        if len(self.arguments) == 1 and not self.arguments[0].name:
            return self.arguments[0].sql_type
        return None

    def accepts(self, given: frozenset[str]) -> bool:
        """Whether it can be called with exactly these argument names."""
        if self.unnamed_type:
            return False
        names = {argument.name for argument in self.arguments}
        needed = {argument.name for argument in self.arguments if argument.required}
        return needed <= given <= names

    def takes_body(self, given: Given) -> bool:
        """Whether a whole body can be its only argument."""
        if len(self.arguments) != 1 or self.arguments[0].sql_type not in given.body_types:
            return False
        return given.any_name or not self.arguments[0].name

    def shaped_types(self) -> dict[str, str]:
        """Types of what a shape may name: columns, or the values of a scalar."""
        if self.result == "scalar":
            return {SCALAR_COLUMN: self.sql_type}
        return dict(zip(self.columns, self.types, strict=True))

    @property
    def signature(self) -> str:
        """As it is named where several are meant."""
        arguments = ", ".join(f"{each.name} => {each.sql_type}" for each in self.arguments)
        return f"{self.schema}.{self.name}({arguments})"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What one look at the database found of one schema: functions by name, and roles that may be
    assumed."""

    functions: Mapping[str, tuple[Function, ...]]
    roles: frozenset[str]
    schema: str = SCHEMA

    def find(self, name: str, given: Given) -> list[Function]:
        """The functions of that name that take these arguments, else the body as a whole; more than
        one is one too many."""
        overloads = self.functions.get(name, ())
        if given.names is not None:
            found = [each for each in overloads if each.accepts(given.names)]
            if found or not given.body_types:
                return found
        return [each for each in overloads if each.takes_body(given)]

    def limited_to(self, oids: Collection[int]) -> Catalogue:
        """The same with these functions alone."""
        kept = {
            name: tuple(each for each in overloads if each.oid in oids)
            for name, overloads in self.functions.items()
        }
        kept = {name: each for name, each in kept.items() if each}
        return Catalogue(kept, self.roles, self.schema)

    def ambiguous(self, name: str, given: Given) -> Problem:
        """300, with the candidates."""
        return _ambiguous(self.find(name, given))

    def argument_names(self, name: str) -> frozenset[str]:
        """Of all functions of that name."""
        overloads = self.functions.get(name, ())
        return frozenset(each.name for function in overloads for each in function.arguments)

    def not_found(self, name: str, given: Given) -> Problem:
        """404, with what was looked for and what may have been meant."""
        names = given.names or frozenset()
        arguments = ", ".join(sorted(names))
        called = f"({arguments})" if names else " without parameters"
        plural = "s" if len(names) > 1 else ""
        looked_for = f" with parameter{plural} {arguments}" if names else " without parameters"
        unnamed = f"with a single unnamed {'/'.join(given.body_types)} parameter"
        if given.names is None:
            called, looked_for = "", f" {unnamed}"
        elif given.body_types:
            looked_for += f" or {unnamed}"
        return Problem(
            404,
            "PGRST202",
            f"Could not find the function {self.schema}.{name}{called} in the schema cache",
            f"Searched for the function {self.schema}.{name}{looked_for},"
            " but no matches were found in the schema cache.",
            self._suggestion(name, names) if given.names is not None else None,
        )

    def _suggestion(self, name: str, given: frozenset[str]) -> str | None:
        overloads = self.functions.get(name)
        if overloads:
            near = _closest(_names(given), [_names(_input_names(each)) for each in overloads])
            meant = name + near if near else None
        else:
            meant = _closest(name, self.functions)
        return f"Perhaps you meant to call the function {self.schema}.{meant}" if meant else None


def quote_identifier(name: str) -> str:
    """As SQL spells a name that may hold anything."""
    return '"' + name.replace('"', '""') + '"'


def parse_catalogue(document: str, schemas: Iterable[str] = (SCHEMA,)) -> dict[str, Catalogue]:
    """Read what `internal.api_catalogue_of()` returns of these schemas."""
    parsed = json.loads(document)
    found: dict[str, dict[str, tuple[Function, ...]]] = {schema: {} for schema in schemas}
    for described in parsed["functions"]:
        function = _parse_function(described)
        named = found[function.schema]
        named[function.name] = (*named.get(function.name, ()), function)
    roles = frozenset(parsed["roles"])
    return {schema: Catalogue(named, roles, schema) for schema, named in found.items()}


def _parse_function(described: dict[str, Any]) -> Function:
    return Function(
        oid=described["id"],
        version=described["version"],
        name=described["name"],
        comment=described["comment"],
        volatile=described["volatile"],
        returns_set=described["set"],
        result=described["result"],
        columns=tuple(described["columns"]),
        arguments=tuple(
            Argument(
                each["name"],
                each["type"],
                each["required"],
                each["variadic"],
                each.get("default"),
            )
            for each in described["arguments"]
        ),
        sql_type=described["type"],
        types=tuple(described["types"]),
        timeout_seconds=function_timeout(described["settings"]),
        schema=described["schema"],
    )


def _ambiguous(matches: list[Function]) -> Problem:
    candidates = ", ".join(each.signature for each in matches) or "several"
    return Problem(
        300,
        "PGRST203",
        f"Could not choose the best candidate function between: {candidates}",
        hint="Try renaming the parameters or the function itself in the database"
        " so function overloading can be resolved",
    )


def _input_names(function: Function) -> list[str]:
    return [argument.name for argument in function.arguments]


def _names(names: Iterable[str]) -> str:
    return f"({', '.join(sorted(names))})"


def _closest(word: str, candidates: Iterable[str]) -> str | None:
    near = get_close_matches(word, list(candidates), n=1, cutoff=LEAST_SIMILARITY)
    return near[0] if near else None
