import pytest

from ingest.errors import PromgresError
from ingest.http import problems
from ingest.http.problems import Problem
from ingest.rpc.request import (
    JsonArguments,
    TextArguments,
    WholeBody,
    asked_schema,
    body_arguments,
    read_query,
    sort_query,
)
from ingest.rpc.shape import Page

FORM = "application/x-www-form-urlencoded"


def problem_of(call: object, *arguments: object) -> Problem:
    with pytest.raises(PromgresError) as caught:
        call(*arguments)  # type: ignore[operator]
    return problems.problem_of(caught.value)


def arguments_of(query: str) -> TextArguments:
    return sort_query(read_query(query)).arguments


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
        "value", ["eq.1", "not.is.null", "in.(1,2)", "like(any).x", "is.null", "cs.{1}", "fts(e).x"]
    )
    def test_filters_are_no_arguments(self, value: str) -> None:
        asked = sort_query(read_query(f"a=1&value={value}"))
        assert asked.arguments.names == {"a"}
        assert asked.shape.columns == {"value"}

    def test_what_shapes_a_result_is_an_argument_where_the_function_has_one(self) -> None:
        asked = sort_query(read_query("limit=1&order=a&offset=2"), {"limit", "order"})
        assert asked.arguments.names == {"limit", "order"}
        assert (set(asked.shaping), asked.page) == ({"offset"}, Page(2))

    @pytest.mark.parametrize("value", ["1.5", "equal", "island.x", "eq", "note.x", "2026-01-01"])
    def test_values_that_only_resemble_filters_are_arguments(self, value: str) -> None:
        assert arguments_of(f"p={value}").values["p"] == (value,)

    @pytest.mark.parametrize(
        "query", ["a=%FF", "a=\udcff", "&".join(f"a{i}=1" for i in range(1001))]
    )
    def test_unreadable(self, query: str) -> None:
        assert problem_of(arguments_of, query).code == "PGRST100"

    def test_a_post_has_no_arguments_in_its_query(self) -> None:
        def sort(query: str) -> None:
            sort_query(read_query(query), posted=True)

        sort("p=eq.1&select=p&limit=1")
        problem = problem_of(sort, "p=1")
        assert (problem.code, problem.message) == (
            "PGRST100",
            '"failed to parse filter (1)" (line 1, column 1)',
        )


class TestBody:
    @pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b"[]", b"3", b'"x"', b"null"])
    def test_no_arguments(self, body: bytes) -> None:
        assert body_arguments("application/json", body).names == frozenset()

    def test_the_document_is_kept_as_sent(self) -> None:
        body = b'{"a": 987654321098765432101, "b": 0.10, "c": [1, {"d": null}]}'
        arguments = body_arguments("application/json; charset=utf-8", body)
        assert arguments == JsonArguments(body.decode(), frozenset("abc"), body.decode())

    def test_of_an_array_the_first_object_is_taken_as_sent(self) -> None:
        body = b' [ {"a": 1.00, "b": "]"} , {"b": 2, "a": 3} ] '
        arguments = body_arguments(None, body)
        assert arguments == JsonArguments('{"a": 1.00, "b": "]"}', frozenset("ab"), body.decode())

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
        problem = problem_of(body_arguments, "image/png; x=y", b"a")
        assert (problem.status, problem.code) == (400, "PGRST102")
        assert problem.message == "Content-Type not acceptable: image/png"

    def test_a_form(self) -> None:
        arguments = body_arguments(FORM, b"a=1&b=eq.x&a=%C3%BC+")
        assert arguments == TextArguments({"a": ("1", "ü "), "b": ("eq.x",)})
        assert problem_of(body_arguments, FORM, b"a=%FF").code == "PGRST102"

    def test_csv(self) -> None:
        arguments = body_arguments("text/csv", b'a,b\n"1,2",NULL\n3,4\n')
        assert arguments == JsonArguments('{"a": "1,2", "b": null}', frozenset("ab"))
        for body in (b"a,b\n1\n", b'a\n"'):
            assert problem_of(body_arguments, "text/csv", body).code == "PGRST102"

    def test_what_is_one_argument(self) -> None:
        assert body_arguments("text/plain", b"") == WholeBody("", ("text",))
        assert body_arguments("text/xml", b"<a/>") == WholeBody("<a/>", ("xml",))
        octets = body_arguments("application/octet-stream", b"\xff")
        assert octets == WholeBody(b"\xff", ("bytea",))
        assert problem_of(body_arguments, "text/plain", b"\xff").code == "PGRST102"
        single = body_arguments(None, b"[1]", single_object=True)
        assert single == WholeBody("[1]", ("json", "jsonb"), any_name=True)

    def test_columns_choose_keys(self) -> None:
        body = b'[{"a": 1, "b": 2}, {"a": 3}]'
        arguments = body_arguments(None, body, frozenset("a"))
        assert arguments == JsonArguments('{"a": 1, "b": 2}', frozenset("a"), body.decode())


class TestHeaders:
    def test_each_method_has_its_profile_header(self) -> None:
        assert asked_schema({}, "GET", ["api"]) == ("api", False)
        assert asked_schema({}, "GET", ["api", "more"]) == ("api", True)
        headers = {"Accept-Profile": "api", "Content-Profile": "more"}
        assert asked_schema(headers, "GET", ["api", "more"]) == ("api", True)
        assert asked_schema(headers, "POST", ["api", "more"]) == ("more", True)

    def test_another_schema(self) -> None:
        problem = problem_of(asked_schema, {"Accept-Profile": "public"}, "HEAD", ["api", "more"])
        assert (problem.status, problem.code) == (406, "PGRST106")
        assert problem.message == "Invalid schema: public"
        assert problem.hint == "Only the following schemas are exposed: api, more"
