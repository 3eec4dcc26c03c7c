"""Series in a terminal: tables, CSV and plots."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cli.curves import MOST_PLOTTED, Curve, plotted, series_text, show
from ingest.errors import OperatorError

START = 1_780_272_000.0
UP = Curve(
    {"__name__": "m", "job": "a"},
    [START + 15 * i for i in range(240)],
    [str(i) for i in range(240)],
)
DOWN = Curve({"job": 'b"\\'}, UP.times, [str(-i) for i in range(240)])


def lines(*curves: Curve, width: int = 60) -> list[str]:
    return [line.plain for line in plotted(curves, width)]


def dots(line: str) -> int:
    return sum(bin(ord(each) - 0x2800).count("1") for each in line if 0x2800 <= ord(each) < 0x2900)


def test_a_series_is_written_as_promql_has_it() -> None:
    assert series_text(UP.labels) == 'm{job="a"}'
    assert series_text(DOWN.labels) == r'{job="b\"\\"}'
    assert (series_text({"__name__": "m"}), series_text({})) == ("m", "{}")
    assert series_text({"a": "two\nlines", "no name": "\t"}) == r'{a="two\nlines", "no name"="\t"}'


def test_a_plot() -> None:
    """A line from the lower left to the upper right corner, its bounds and its period."""
    found = lines(UP)
    assert all(len(line) <= 60 for line in found)
    plot, (axis, legend) = found[:18], found[18:]
    assert plot[0].split()[0] == "239"
    assert plot[-1].split()[0] == "0"
    ends = [len(line) for line in plot]
    assert ends == sorted(ends, reverse=True)
    assert 100 <= sum(map(dots, plot)) <= 200
    assert axis.split() == ["2026-06-01", "00:00:00", "2026-06-01", "00:59:45"]
    assert legend == '● m{job="a"}'
    assert [len(lines(UP, DOWN)), len(lines(*[UP] * 20))] == [21, 20 + MOST_PLOTTED]
    assert lines(*[UP] * 20)[-1] == f"and {20 - MOST_PLOTTED} more series, which are not shown"


def test_a_gap_stays_one() -> None:
    times = [START + 15 * i for i in range(240) if not 100 < i < 140]
    found = lines(Curve({}, times, ["1"] * len(times)))
    [row] = [line for line in found[:18] if dots(line)]
    dotted = row.split("┤")[1].rstrip()
    assert 4 <= dotted.count(" ") <= 12, "a sixth is missing"
    assert len(dotted.split()) == 2


@given(
    st.lists(st.lists(st.floats(), max_size=6), max_size=3),
    st.integers(0, 200),
)
def test_whatever_is_plotted_has_its_place(series: list[list[float]], width: int) -> None:
    curves = [
        Curve({"n": str(n)}, [START + i for i in range(len(each))], list(map(repr, each)))
        for n, each in enumerate(series)
    ]
    found = list(plotted(curves, width))
    finite = any(abs(value) < float("inf") for each in series for value in each)
    assert (len(found) > 18) == finite
    if finite:
        assert sum(dots(line.plain) for line in found[:18]) > 0
    else:
        assert found[0].plain == "nothing to plot"


def test_csv_and_tables_have_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    odd = Curve(
        {"__name__": "h", "x": "a,b"}, [START + 0.001], ["{count:2, sum:0.30000000000000004}"]
    )
    show([UP._replace(times=UP.times[:1], values=["0.1234567890123456789"]), odd], "csv")
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows == [
        ["time", "value", "__name__", "job", "x"],
        ["2026-06-01T00:00:00Z", "0.1234567890123456789", "m", "a", ""],
        ["2026-06-01T00:00:00.001Z", "{count:2, sum:0.30000000000000004}", "h", "", "a,b"],
    ]
    show([odd], "table")
    head, row = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "time (UTC)"
    assert row == '2026-06-01 00:00:00.001  h{x="a,b"}  {count:2, sum:0.30000000000000004}'
    show([], "table")
    assert capsys.readouterr().out == "nothing found\n"


def test_a_terminal_without_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "latin-1"))
    with pytest.raises(OperatorError, match="takes latin-1, not UTF-8"):
        show([UP], "plot")
