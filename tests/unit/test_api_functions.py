import json
from typing import Any

import pytest

from ingest.rpc.functions import Catalogue, Given, parse_catalogue


def argument(name: str, sql_type: str = "text", required: bool = True) -> dict[str, Any]:
    return {"name": name, "type": sql_type, "required": required, "variadic": False}


def function(name: str, *arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": 1,
        "version": "1",
        "schema": "api",
        "name": name,
        "comment": None,
        "volatile": False,
        "set": False,
        "result": "scalar",
        "type": "text",
        "columns": [],
        "types": [],
        "settings": [],
        "arguments": list(arguments),
    }


@pytest.fixture
def catalogue() -> Catalogue:
    functions = [
        function("none"),
        function("one", argument("a"), argument("b", required=False)),
        function("two", argument("a")),
        function("two", argument("a"), argument("b")),
        function("same", argument("a", "integer")),
        function("same", argument("a", "text")),
        function("get_agg_metric", argument("p_from"), argument("p_to")),
    ]
    return parse_catalogue(json.dumps({"functions": functions, "roles": ["web_anon"]}))["api"]


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("none", "", True),
        ("none", "a", False),
        ("one", "a", True),
        ("one", "ab", True),
        ("one", "b", False),
        ("one", "abc", False),
        ("one", "", False),
        ("two", "a", True),
        ("two", "ab", True),
        ("two", "b", False),
        ("three", "", False),
    ],
)
def test_the_exact_set_of_names_decides(
    catalogue: Catalogue, name: str, given: str, found: bool
) -> None:
    assert bool(catalogue.find(name, Given(frozenset(given)))) == found


def test_overloads_that_differ_in_types_alone_cannot_be_told_apart(catalogue: Catalogue) -> None:
    given = Given(frozenset("a"))
    assert len(catalogue.find("same", given)) == 2
    problem = catalogue.ambiguous("same", given)
    assert (problem.status, problem.code) == (300, "PGRST203")
    assert "api.same(a => integer), api.same(a => text)" in problem.message


@pytest.mark.parametrize(
    ("name", "given", "message", "details", "hint"),
    [
        ("xyz", [], "api.xyz without parameters in", "api.xyz without parameters, but", None),
        ("xyz", ["x"], "api.xyz(x) in", "api.xyz with parameter x, but", None),
        (
            "get_agg_metrics",
            ["p_to", "p_from"],
            "api.get_agg_metrics(p_from, p_to) in",
            "with parameters p_from, p_to, but",
            "Perhaps you meant to call the function api.get_agg_metric",
        ),
        (
            "get_agg_metric",
            ["p_from"],
            "api.get_agg_metric(p_from) in",
            "with parameter p_from, but",
            "Perhaps you meant to call the function api.get_agg_metric(p_from, p_to)",
        ),
    ],
)
def test_what_is_not_found_says_what_was_looked_for(
    catalogue: Catalogue, name: str, given: list[str], message: str, details: str, hint: str | None
) -> None:
    problem = catalogue.not_found(name, Given(frozenset(given)))
    assert (problem.status, problem.code) == (404, "PGRST202")
    assert message in problem.message
    assert details in (problem.details or "")
    assert problem.hint == hint


def test_a_post_might_have_meant_one_unnamed_argument(catalogue: Catalogue) -> None:
    problem = catalogue.not_found("nope", Given(frozenset("x"), ("json", "jsonb")))
    assert problem.details == (
        "Searched for the function api.nope with parameter x or with a single unnamed json/jsonb"
        " parameter, but no matches were found in the schema cache."
    )
