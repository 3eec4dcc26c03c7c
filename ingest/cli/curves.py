"""Series of values in a terminal: as a table, as CSV, or as a plot of dots."""

from __future__ import annotations

import csv
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

import click
from rich.console import Console
from rich.text import Text

from ingest.cli.administration import cell, print_table
from ingest.errors import OperatorError
from ingest.promql.gotext import go_quote
from ingest.promql.printer import label_name

FORMATS = ("table", "csv", "plot")
COLORS = ("cyan", "yellow", "green", "magenta", "red", "blue", "bright_white", "bright_black")
MOST_PLOTTED = len(COLORS)
_ROWS = 18
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a Braille character (from U+2800 on), by row and column of its eight dots."""


class Curve(NamedTuple):
    """One series.

    Attributes:
        labels: its name among them, as `__name__`.
        times: in seconds since 1970, ascending.
        values: as they were sent: a digit goes through a float only to be plotted.
    """

    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[str]


def show(curves: Sequence[Curve], form: str) -> None:
    """Print series.

    Args:
        form: one of `FORMATS`.

    Raises:
        OperatorError: the terminal cannot show it.
    """
    if form == "csv":
        _print_csv(curves)
    elif form == "plot":
        _print_plot(curves)
    else:
        rows = [
            (_shown(at), series_text(curve.labels), value)
            for curve in curves
            for at, value in zip(curve.times, curve.values, strict=True)
        ]
        print_table(("time (UTC)", "series", "value"), rows, "nothing found")


def series_text(labels: Mapping[str, str]) -> str:
    """Labels as PromQL writes them."""
    name = labels.get("__name__", "")
    rest = ", ".join(
        f"{label_name(label)}={go_quote(value)}"
        for label, value in labels.items()
        if label != "__name__"
    )
    return name + (f"{{{rest}}}" if rest or not name else "")


def _shown(at: float) -> str:
    text = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S.%f}"
    return text[:-3].removesuffix(".000")


def _print_csv(curves: Sequence[Curve]) -> None:
    """A row a value: its time (RFC 3339), itself, and a column a label."""
    names = sorted({label for curve in curves for label in curve.labels})
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["time", "value", *names])
    for curve in curves:
        labels = [curve.labels.get(name, "") for name in names]
        for at, value in zip(curve.times, curve.values, strict=True):
            writer.writerow([_shown(at).replace(" ", "T") + "Z", value, *labels])


def _print_plot(curves: Sequence[Curve]) -> None:
    try:
        "⠁".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        raise OperatorError(
            f"--format plot: this terminal takes {sys.stdout.encoding}, not UTF-8; --format table"
        ) from None
    console = Console(highlight=False, soft_wrap=True)
    for line in plotted(curves, shutil.get_terminal_size((100, 0)).columns):
        console.print(line)


def plotted(curves: Sequence[Curve], width: int) -> Iterator[Text]:
    """Lines of a plot, `width` characters wide, and what its colors mean; values that are no
    numbers are left out."""
    points = [_points(curve) for curve in curves[:MOST_PLOTTED]]
    every = [point for each in points for point in each]
    if not every:
        yield Text("nothing to plot")
        return
    low, high = min(value for _, value in every), max(value for _, value in every)
    if low == high:
        low, high = low - (abs(low) / 2 or 1), high + (abs(high) / 2 or 1)
    marks = [f"{low + (high - low) * part / 3:.4g}" for part in range(4)]
    margin = max(map(len, marks)) + 2
    columns = max(width - margin, 10)
    first, last = min(at for at, _ in every), max(at for at, _ in every)
    cells: dict[tuple[int, int], tuple[int, int]] = {}
    for number, each in enumerate(points):
        for x, y in _dots(each, (first, last), (low, high), columns):
            place = y // 4, x // 2
            known = cells.get(place, (0, number))[0]
            cells[place] = known | _DOTS[y % 4][x % 2], number
    for row in range(_ROWS):
        third, rest = divmod(row * 3, _ROWS - 1)
        line = Text((marks[3 - third] if not rest else "").rjust(margin - 2) + " ┤")
        for column in range(columns):
            bits, number = cells.get((row, column), (0, 0))
            line.append(chr(0x2800 + bits) if bits else " ", COLORS[number])
        line.rstrip()
        yield line
    begin, end = _shown(first), _shown(last)
    yield Text(" " * margin + begin + end.rjust(columns - len(begin)))
    for number, curve in enumerate(curves[:MOST_PLOTTED]):
        yield Text("● ", COLORS[number]).append(cell(series_text(curve.labels)), "default")
    if len(curves) > MOST_PLOTTED:
        yield Text(f"and {len(curves) - MOST_PLOTTED} more series, which are not shown")


def _points(curve: Curve) -> list[tuple[float, float]]:
    found = []
    for at, text in zip(curve.times, curve.values, strict=True):
        try:
            value = float(text)
        except ValueError:  # a histogram, or a text
            continue
        if math.isfinite(value):
            found.append((at, value))
    return found


def _dots(
    points: Sequence[tuple[float, float]],
    period: tuple[float, float],
    bounds: tuple[float, float],
    columns: int,
) -> Iterator[tuple[int, int]]:
    """Places of a curve's dots; neighbours are joined, unless half a step or more is missing."""
    width, height = 2 * columns - 1, 4 * _ROWS - 1
    length = period[1] - period[0] or 1.0
    places = [
        (
            round((at - period[0]) / length * width),
            round(
                height
                * (
                    0.5
                    - (value / 2 - bounds[0] / 4 - bounds[1] / 4) / (bounds[1] / 2 - bounds[0] / 2)
                )
            ),
        )
        for at, value in points
    ]  # fmt: skip (halves, so that no difference of two large numbers is infinite)
    yield from places
    step = min((after - before for (before, _), (after, _) in pairwise(points)), default=0.0)
    for ((before, _), (after, _)), ((x, y), (to_x, to_y)) in zip(
        pairwise(points), pairwise(places), strict=True
    ):
        if after - before <= 1.5 * step:
            count = max(abs(to_x - x), abs(to_y - y))
            for part in range(1, count):
                yield x + (to_x - x) * part // count, y + (to_y - y) * part // count


def warn(texts: Sequence[str]) -> None:
    """Say what a server noted about an answer, beside it."""
    for text in texts:
        click.echo(cell(text), err=True)
