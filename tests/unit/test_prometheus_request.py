"""Parameters of Prometheus' API."""

from __future__ import annotations

import pytest

from ingest.errors import PromqlError
from ingest.prometheus.request import (
    MOST_STEPS,
    BadParameter,
    Form,
    Steps,
    duration_seconds,
    label_name,
    read_form,
    steps_of,
    time_ms,
)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("4", 4000),
        ("1435781451.781", 1_435_781_451_781),
        ("-1.5", -1500),
        ("1e9", 1_000_000_000_000),
        ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
        ("2015-07-01T22:10:51.781+02:00", 1_435_781_451_781),
        ("1e30", 253_402_300_799_999),
    ],
)
def test_times(text: str, ms: int) -> None:
    assert time_ms(text) == ms


@pytest.mark.parametrize("text", ["x", "", "2015-07-01", "NaN", "Inf", "1 ", "２", "30/02"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="to a valid timestamp"):
        time_ms(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("15", 15), ("0.5", 0.5), ("1h30m", 5400), ("1ms", 0.001), ("1d", 86_400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["x", "5 m", "m5", "1e30"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="to a valid duration"):
        duration_seconds(text)


def test_a_form_is_read_before_the_query_string() -> None:
    form = read_form("query=b&match%5B%5D=x", b"query=a%2Bb&match[]=y")
    assert form.text("query") == "a+b"
    assert form.all("match[]") == ["y", "x"]
    with pytest.raises(BadParameter, match="form"):
        read_form("", b"query=%ff")


def test_steps() -> None:
    form = Form([("start", "10"), ("end", "40.5"), ("step", "15")])
    assert steps_of(form) == Steps(10_000, 40_500, 15_000)
    for changed, what in (
        ({"start": ""}, 'parameter "start"'),
        ({"end": "9"}, "end timestamp must not be before"),
        ({"step": ""}, 'parameter "step"'),
        ({"step": "0"}, "zero or negative"),
        ({"step": "-1"}, "zero or negative"),
        ({"end": str(10 + MOST_STEPS + 1), "step": "1"}, "11,000 points"),
    ):
        given = {"start": "10", "end": "40", "step": "15", **changed}
        with pytest.raises(BadParameter, match=what):
            steps_of(Form(list(given.items())))


def test_limits() -> None:
    assert Form([]).limit() == 0
    assert Form([("limit", "7")]).limit() == 7
    for text, what in (("x", "strconv.Atoi"), ("-1", "non-negative"), ("1.5", "strconv.Atoi")):
        with pytest.raises(BadParameter, match=what):
            Form([("limit", text)]).limit()


def test_selectors() -> None:
    [[matcher, name]] = Form([("match[]", 'up{job=~"a|b"}')]).selectors()
    assert {(each.op, each.name, each.value) for each in (matcher, name)} == {
        ("=", "__name__", "up"),
        ("=~", "job", "a|b"),
    }
    for text, what in (("{", "parse error"), ('{job=~".*"}', "non-empty"), ("1+1", "parse error")):
        with pytest.raises(PromqlError, match=what):
            Form([("match[]", text)]).selectors()
    with pytest.raises(BadParameter, match="no match"):
        Form([]).selectors(required=True)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("job", "job"),
        ("U__http_2e_status_3a_sum", "http.status:sum"),
        ("U__a__b", "a_b"),
        ("U__label_20_with_20_space", "label with space"),
        ("U__a_d800_b", "a\ufffdb"),
    ],
)
def test_names_of_labels(path: str, name: str) -> None:
    assert label_name(path) == name
