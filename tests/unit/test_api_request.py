import pytest

from ingest.errors import PromgresError
from ingest.http import problems
from ingest.http.problems import Problem
from ingest.rpc.request import (
    JsonArguments,
    TextArguments,
    body_arguments,
    check_post_query,
    check_profile,
    preferred_count,
    query_arguments,
    read_query,
)


def problem_of(call: object, *arguments: object) -> Problem:
    with pytest.raises(PromgresError) as caught:
        call(*arguments)  # type: ignore[operator]
    return problems.problem_of(caught.value)


def arguments_of(query: str) -> TextArguments:
    return query_arguments(read_query(query))


class TestQuery:
    def test_values_are_text_and_decoded(self) -> None:
        arguments = arguments_of("a=%27%3B%20drop%20table&b=x+y&c=&d=ü&e")
        assert arguments.values == {
            "a": ("'; drop table",),
            "b": ("x y",),
            "c": ("",),
            "d": ("ü",),
            "e": ("",),
        }

    def test_a_name_given_twice_keeps_both(self) -> None:
        assert arguments_of("a=1&b=2&a=3").values["a"] == ("1", "3")

    @pytest.mark.parametrize(
        "name", ["select", "order", "limit", "offset", "and", "or", "columns", "on_conflict"]
    )
    def test_what_shapes_a_result_is_refused_by_name(self, name: str) -> None:
        problem = problem_of(arguments_of, f"p=1&{name}=x")
        assert (problem.status, problem.code) == (400, "PGRST100")
        assert name in problem.message

    @pytest.mark.parametrize(
        "value", ["eq.1", "not.is.null", "in.(1,2)", "like(any).x", "is.null", "cs.{1}", "fts(e).x"]
    )
    def test_filters_are_refused(self, value: str) -> None:
        problem = problem_of(arguments_of, f"value={value}")
        assert (problem.status, problem.code) == (400, "PGRST100")
        assert "filter on a column" in (problem.details or "")

    @pytest.mark.parametrize("value", ["1.5", "equal", "island.x", "eq", "note.x", "2026-01-01"])
    def test_values_that_only_resemble_filters_are_arguments(self, value: str) -> None:
        assert arguments_of(f"p={value}").values["p"] == (value,)

    @pytest.mark.parametrize(
        "query", ["a=%FF", "a=\udcff", "&".join(f"a{i}=1" for i in range(1001))]
    )
    def test_unreadable(self, query: str) -> None:
        assert problem_of(arguments_of, query).code == "PGRST100"

    def test_a_post_has_no_arguments_in_its_query(self) -> None:
        check_post_query([])
        for query in ("p=1", "select=a", "p=eq.1"):
            assert problem_of(check_post_query, read_query(query)).code == "PGRST100"


class TestBody:
    @pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b"[]", b"3", b'"x"', b"null"])
    def test_no_arguments(self, body: bytes) -> None:
        assert body_arguments("application/json", body).names == frozenset()

    def test_the_document_is_kept_as_sent(self) -> None:
        body = b'{"a": 987654321098765432101, "b": 0.10, "c": [1, {"d": null}]}'
        arguments = body_arguments("application/json; charset=utf-8", body)
        assert arguments == JsonArguments(body.decode(), frozenset("abc"))

    def test_of_an_array_the_first_object_is_taken_as_sent(self) -> None:
        body = b' [ {"a": 1.00, "b": "]"} , {"b": 2, "a": 3} ] '
        arguments = body_arguments(None, body)
        assert arguments == JsonArguments('{"a": 1.00, "b": "]"}', frozenset("ab"))

    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"{'a': 1}",
            b'{"a": NaN}',
            b'{"a": Infinity}',
            b'{"a": "\xff"}',
            b"\xef\xbb\xbf{}",
            b"[" * 100_000,
            b"{} {}",
        ],
    )
    def test_no_json(self, body: bytes) -> None:
        problem = problem_of(body_arguments, "application/json", body)
        assert (problem.status, problem.code) == (400, "PGRST102")
        assert problem.message == "Empty or invalid json"

    @pytest.mark.parametrize("body", [b'[{"a": 1}, {"b": 1}]', b'[{"a": 1}, 2]', b"[1]"])
    def test_an_array_must_be_uniform(self, body: bytes) -> None:
        assert problem_of(body_arguments, None, body).message == "All object keys must match"

    def test_a_number_of_any_length_is_no_trouble(self) -> None:
        body = b'{"a": ' + b"9" * 10_000 + b"}"
        assert body_arguments(None, body).names == {"a"}

    def test_another_content_type(self) -> None:
        problem = problem_of(body_arguments, "text/csv; header=present", b"a")
        assert (problem.status, problem.code) == (400, "PGRST102")
        assert problem.message == "Content-Type not acceptable: text/csv"


class TestHeaders:
    def test_each_method_has_its_profile_header(self) -> None:
        assert not check_profile({}, "GET")
        assert check_profile({"Accept-Profile": "api", "Content-Profile": "no"}, "GET")
        assert check_profile({"Accept-Profile": "no", "Content-Profile": "api"}, "POST")

    def test_another_schema(self) -> None:
        problem = problem_of(check_profile, {"Accept-Profile": "public"}, "HEAD")
        assert (problem.status, problem.code) == (406, "PGRST106")
        assert problem.message == "Invalid schema: public"
        assert problem.hint == "Only the following schemas are exposed: api"

    @pytest.mark.parametrize(
        ("prefer", "expected"),
        [
            ("count=exact", "exact"),
            ("return=minimal, count = planned", "planned"),
            ("count=exact,return=representation", "exact"),
            ("count=some", None),
            ("", None),
        ],
    )
    def test_count(self, prefer: str, expected: str | None) -> None:
        assert preferred_count({"Prefer": prefer}) == expected
