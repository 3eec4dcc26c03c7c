import json

import pytest

from ingest.errors import DatabaseAway, KeyRefused, QueryRefused
from ingest.http.problems import Problem, problem_of


def postgres_error(sqlstate: str, message: str = "m", detail: str | None = None) -> Exception:
    return QueryRefused(message, sqlstate, detail, "h")


@pytest.mark.parametrize(
    ("sqlstate", "status"),
    [
        ("08006", 503), ("09000", 500), ("0L000", 403), ("0P000", 403), ("21000", 500),
        ("22007", 400), ("22023", 400), ("22P02", 400), ("23502", 400), ("23503", 409),
        ("23505", 409), ("23514", 400), ("25006", 405), ("25001", 500), ("28000", 403),
        ("2D000", 500), ("38000", 500), ("39000", 500), ("3B000", 500), ("40001", 500),
        ("42883", 404), ("42P01", 404), ("42P17", 500), ("42601", 400), ("42501", 403),
        ("53400", 500), ("53300", 503), ("54000", 500), ("55000", 500), ("57014", 500),
        ("57P01", 503), ("58030", 500), ("F0000", 500), ("HV000", 500), ("P0001", 400),
        ("P0002", 500), ("XX000", 500), ("PT418", 418), ("PTabc", 500), ("PT999", 500),
        ("ZZZZZ", 400),
    ],
)  # fmt: skip
def test_status_of_a_sqlstate(sqlstate: str, status: int) -> None:
    problem = problem_of(postgres_error(sqlstate, detail="d"), authenticated=True)
    assert problem.status == status
    assert (problem.code, problem.message, problem.details, problem.hint) == (
        sqlstate, "m", "d", "h",
    )  # fmt: skip
    assert ("Retry-After" in problem.headers) == (status == 503)


def test_what_an_anonymous_request_may_not_do_is_401() -> None:
    problem = problem_of(postgres_error("42501"), authenticated=False)
    assert problem.status == 401
    assert problem.headers["WWW-Authenticate"] == "Bearer"


def test_sql_may_raise_a_whole_answer() -> None:
    message = json.dumps({"code": "X1", "message": "no", "details": 3, "hint": None})
    detail = json.dumps({"status": 402, "headers": {"X-A": "b\r\nX-C: d"}})
    problem = problem_of(postgres_error("PGRST", message, detail), authenticated=False)
    assert (problem.status, problem.code, problem.message) == (402, "X1", "no")
    assert (problem.details, problem.hint) == ("3", None)
    assert problem.headers == {"X-A": "bX-C: d"}


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ("no json", "{}"),
        ('{"message": "no code"}', '{"status": 400}'),
        ('{"code": "c", "message": "m"}', None),
        ('{"code": "c", "message": "m"}', '{"status": 400, "headers": []}'),
    ],
)
def test_an_answer_that_cannot_be_read_is_500(message: str, detail: str | None) -> None:
    problem = problem_of(postgres_error("PGRST", message, detail), authenticated=False)
    assert (problem.status, problem.code) == (500, "PGRST121")


def test_the_body_always_has_four_keys() -> None:
    body = json.loads(Problem(400, "C", "ü").body)
    assert body == {"code": "C", "message": "ü", "details": None, "hint": None}


def test_a_database_that_is_away_comes_back() -> None:
    assert problem_of(DatabaseAway()).headers == {"Retry-After": "1"}


@pytest.mark.parametrize(
    ("refusal", "status", "code", "message", "details"),
    [
        (KeyRefused("bring one", "missing"), 401, "PGRST302", "Anonymous access is disabled",
         "bring one"),
        (KeyRefused("no such key", "unknown"), 401, "PGRST301", "no such key", None),
        (KeyRefused("not this", "scope", 403), 403, "42501", "not this", None),
    ],
)  # fmt: skip
def test_words_for_who_reads(
    refusal: KeyRefused, status: int, code: str, message: str, details: str | None
) -> None:
    problem = problem_of(refusal)
    assert (problem.status, problem.code, problem.message) == (status, code, message)
    assert problem.details == details
    assert problem.headers["WWW-Authenticate"].startswith("Bearer")
