"""SQL for a `Shape`: conditions, columns, order and page over the result of a function.

A column is quoted and stands behind its table, and is one that the catalogue knows. What the client
compares with, and the keys of its paths into JSON, are bound as text and cast to the column's type,
so PostgreSQL reads them as it reads arguments. A cast is a type's name: a word of SQL, or quoted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

from ingest.http.problems import Problem
from ingest.rpc.functions import quote_identifier
from ingest.rpc.shape import (
    COMPARED,
    MATCHED,
    SEARCHED,
    STAR,
    Condition,
    Field,
    Filter,
    Item,
    Shape,
)

WORDS_OF_SQL = frozenset({
    "int", "integer", "bigint", "smallint", "real", "float", "double precision", "numeric",
    "decimal", "dec", "boolean", "char", "character", "character varying", "varchar", "bit",
    "bit varying", "time", "timestamp", "time with time zone", "time without time zone",
    "timestamp with time zone", "timestamp without time zone", "interval",
})  # fmt: skip
"""Types whose names are grammar; in quotes some would mean another type, or none."""

CATALOGUE_TYPES = "reg"
"""How the types begin that look names up in the catalogue: a cast tells nobody what there is."""

JSON_TYPES = frozenset({"json", "jsonb"})


class Shaping:
    """SQL of one shape.

    Args:
        types: of the columns that there are, as SQL spells them.
        table: the SQL name behind which the columns stand.
        first: the number of the first parameter.
    """

    def __init__(self, shape: Shape, types: Mapping[str, str], table: str, first: int) -> None:
        self._types = types
        self._table = table
        self._number: Callable[[], str] = map("${}".format, count(first)).__next__
        where = " AND ".join([self._condition(each) for each in shape.where])
        self.where = f" WHERE {where}" if where else ""
        self.columns = self._columns(shape.select)
        order = ", ".join([self._field(each.field)[0] + each.how for each in shape.order])
        self.order = f" ORDER BY {order}" if order else ""
        self.page = ""
        if shape.paged:
            self.page = f" LIMIT {self._number()}::bigint OFFSET {self._number()}::bigint"

    def _columns(self, items: tuple[Item, ...] | None) -> str:
        if items is None:
            return f"{self._table}.*"
        return ", ".join([self._item(each) for each in items])

    def _item(self, item: Item) -> str:
        if item.field.name == STAR:
            return f"{self._table}.*"
        value, _ = self._field(item.field)
        if item.cast is not None:
            value = f"CAST({value} AS {_type_name(item.cast)})"
        return f"{value} AS {quote_identifier(item.alias)}"

    def _condition(self, condition: Condition) -> str:
        if isinstance(condition, Filter):
            text = self._filter(condition)
        else:
            joint = f" {condition.joint} "
            text = joint.join([self._condition(each) for each in condition.parts])
        return f"NOT ({text})" if condition.negated else f"({text})"

    def _filter(self, condition: Filter) -> str:
        value, sql_type = self._field(condition.field)
        operator = condition.operator
        if operator == "is":
            return f"{value} IS {condition.tested}"
        if operator in SEARCHED:
            language = ""
            if condition.has_language:
                language = f"{self._number()}::text::regconfig, "
            if sql_type != "tsvector":
                value = f"pg_catalog.to_tsvector({language}{value})"
            return f"{value} @@ pg_catalog.{SEARCHED[operator]}({language}{self._number()}::text)"
        number = self._number()
        if operator == "in":
            return f"{value} = ANY (CAST({number}::text[] AS {sql_type}[]))"
        if operator == "isdistinct":
            return f"{value} IS DISTINCT FROM CAST({number}::text AS {sql_type})"
        other = "text" if operator in MATCHED else sql_type
        if condition.quantifier:
            compared = f"{condition.quantifier} (CAST({number}::text AS {other}[]))"
        else:
            compared = f"CAST({number}::text AS {other})"
        return f"{value} {COMPARED.get(operator) or MATCHED[operator]} {compared}"

    def _field(self, field: Field) -> tuple[str, str]:
        """The SQL of a field, and its type."""
        sql_type = self._types[field.name]
        value = f"{self._table}.{quote_identifier(field.name)}"
        if not field.path:
            return value, sql_type
        if sql_type not in JSON_TYPES:
            value, sql_type = f"pg_catalog.to_jsonb({value})", "jsonb"
        for arrow, index in field.path:
            value += f" {arrow} {f'{self._number()}::text' if index is None else f'({index})'}"
        return f"({value})", "text" if field.path[-1][0] == "->>" else sql_type


def _type_name(name: str) -> str:
    """A type as SQL; the name holds word characters and spaces only.

    Raises:
        Problem: 400, one that would look into the catalogue.
    """
    words = " ".join(name.split())
    if words.startswith(CATALOGUE_TYPES):
        raise Problem(400, "42704", f'type "{words}" cannot be cast to here')
    return words if words in WORDS_OF_SQL else quote_identifier(words)
