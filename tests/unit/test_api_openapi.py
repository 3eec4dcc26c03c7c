from ingest.ports.openapi import openapi_document
from ingest.records.query import PARAMETERS
from ingest.rpc.functions import Argument, Function


def function(name: str, *arguments: Argument, volatile: bool = False) -> Function:
    return Function(
        oid=1,
        version="1",
        name=name,
        comment="First line\n\nThe rest,\nof it.",
        volatile=volatile,
        returns_set=True,
        result="row",
        columns=("a",),
        types=("integer",),
        arguments=arguments,
    )


def test_a_function_is_a_path_with_get_and_post() -> None:
    arguments = (
        Argument("p_from", "timestamp with time zone", required=True, variadic=False),
        Argument("p_count", "integer", required=False, variadic=False),
        Argument("p_names", "text[]", required=False, variadic=False),
        Argument("p_extra", "jsonb", required=False, variadic=False),
    )
    document = openapi_document([function("f", *arguments)], "localhost:3000")
    path = document["paths"]["/rpc/f"]
    assert document["swagger"] == "2.0"
    assert document["host"] == "localhost:3000"
    assert path["get"]["summary"] == "First line"
    assert path["get"]["description"] == "The rest,\nof it."
    assert path["get"]["tags"] == ["(rpc) f"]
    assert [
        (each["name"], each["type"], each["required"]) for each in path["get"]["parameters"]
    ] == [
        ("p_from", "string", True),
        ("p_count", "integer", False),
        ("p_names", "string", False),
        ("p_extra", "string", False),
    ]
    schema = path["post"]["parameters"][0]["schema"]
    assert schema["required"] == ["p_from"]
    assert schema["properties"]["p_names"]["items"] == {"type": "string", "format": "text"}
    assert schema["properties"]["p_extra"] == {"format": "jsonb"}


def test_what_may_write_has_no_get() -> None:
    document = openapi_document([function("f", volatile=True)], "x")
    assert list(document["paths"]["/rpc/f"]) == ["post"]


def test_of_overloads_the_one_with_most_arguments_is_described() -> None:
    one = Argument("a", "text", required=True, variadic=False)
    document = openapi_document([function("f", one), function("f")], "x")
    assert len(document["paths"]["/rpc/f"]["get"]["parameters"]) == 1


def test_variadic_takes_a_name_several_times() -> None:
    values = Argument("v", "integer[]", required=True, variadic=True)
    parameter = openapi_document([function("f", values)], "x")["paths"]["/rpc/f"]["get"][
        "parameters"
    ][0]
    assert parameter["type"] == "array"
    assert parameter["collectionFormat"] == "multi"


def test_measures_and_events_are_described_by_what_their_queries_take() -> None:
    document = openapi_document([], "x")
    assert document["securityDefinitions"]["Key"]["name"] == "X-API-Key"
    for kind, names in PARAMETERS.items():
        path = document["paths"][f"/api/v1/{kind}"]
        assert [each["name"] for each in path["get"]["parameters"]] == list(names)
        assert not any(each["required"] for each in path["get"]["parameters"])
        assert {"200", "400", "401", "403", "503"} <= set(path["get"]["responses"])
        assert "X-Next-Cursor" in path["get"]["responses"]["200"]["headers"]
        assert {"201", "400", "413", "415", "429", "503"} <= set(path["post"]["responses"])
        (body,) = path["post"]["parameters"]
        has_value = "value" in body["schema"]["properties"]
        assert has_value == (kind == "measure") == ("value" in body["schema"]["required"])
