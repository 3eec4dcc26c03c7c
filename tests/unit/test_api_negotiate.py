import pytest

from ingest.errors import NotAcceptable
from ingest.http.negotiation import (
    OPENAPI_MEDIA,
    RESULT_MEDIA,
    Media,
    choose_encoding,
    choose_media,
)
from ingest.http.problems import problem_of


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, Media.JSON),
        ("*/*", Media.JSON),
        ("application/json", Media.JSON),
        ("application/json; charset=utf-8", Media.JSON),
        ("APPLICATION/JSON", Media.JSON),
        ("text/csv", Media.CSV),
        ("text/html, text/csv;q=0.8, */*;q=0.1", Media.CSV),
        ("text/csv;q=0.5, application/json", Media.JSON),
        ("text/csv;q=0, application/json;q=0.1", Media.JSON),
        ("application/vnd.pgrst.object+json", Media.OBJECT),
        ("application/vnd.pgrst.object", Media.OBJECT),
    ],
)
def test_the_most_wanted_form_is_chosen(accept: str | None, expected: Media) -> None:
    assert choose_media(accept, RESULT_MEDIA) is expected


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/json;q=0",
        "application/vnd.pgrst.object+json;nulls=kept",
        "application/vnd.pgrst.plan+json",
        "nonsense",
    ],
)
def test_no_offered_form_is_406(accept: str) -> None:
    with pytest.raises(NotAcceptable) as caught:
        choose_media(accept, RESULT_MEDIA)
    assert (caught.value.status, problem_of(caught.value).code) == (406, "PGRST107")
    assert str(caught.value) == f"None of these media types are available: {accept}"


def test_openapi_comes_under_both_its_names() -> None:
    assert choose_media("application/openapi+json", OPENAPI_MEDIA) is Media.OPENAPI
    assert choose_media("application/json", OPENAPI_MEDIA) is Media.JSON
    assert choose_media(None, OPENAPI_MEDIA) is Media.OPENAPI


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.5, gzip", "gzip"),
        ("zstd;q=0, *", "gzip"),
        ("*", "zstd"),
        ("gzip;q=0", None),
        ("gzip;q=rubbish", None),
    ],
)
def test_encoding(accept_encoding: str | None, expected: str | None) -> None:
    assert choose_encoding(accept_encoding) == expected
