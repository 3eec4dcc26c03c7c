"""What `promgres load` makes of answers, and of options that are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.cli.load import command
from ingest.errors import ConfigError
from ingest.load.amounts import NOTHING, Amounts
from ingest.load.report import WRITTEN_HEADERS, Report, shortfall, written
from ingest.load.sender import Answer, Load, Senders

SENT = Amounts(2000, 10, 5)


def headers(**counts: object) -> dict[str, str]:
    return {WRITTEN_HEADERS[kind]: str(count) for kind, count in counts.items()}


ALL = headers(samples=2000, histograms=10, exemplars=5)


@pytest.mark.parametrize(
    ("said", "amounts"),
    [
        (ALL, SENT),
        (headers(samples=2000), Amounts(2000)),
        (headers(samples=" 7 ", histograms="many", exemplars="-1"), Amounts(7)),
        ({}, NOTHING),
    ],
)
def test_missing_and_odd_counts_are_none(said: dict[str, str], amounts: Amounts) -> None:
    assert written(said) == amounts


def settled(status: str, said: dict[str, str], **load: Any) -> Report:
    senders = Senders(Load("http://x", **load))
    senders.report.sent += SENT
    senders._settle(Answer(status, said, ""), SENT, 1000)
    return senders.report


def test_version_1_believes_the_status() -> None:
    assert settled("204", {}).acknowledged == SENT
    assert settled("400", {}).acknowledged == NOTHING


def test_version_2_believes_the_counts() -> None:
    report = settled("204", ALL, protocol=2)
    assert (report.acknowledged, report.short_answers, report.last_error) == (SENT, 0, "")
    assert (report.first_ms, report.last_ms) == (1000, 1000)


def test_a_success_that_wrote_less_is_a_complaint() -> None:
    report = settled("204", headers(samples=1990, histograms=10, exemplars=0), protocol=2)
    assert report.acknowledged == Amounts(1990, 10, 0)
    assert report.short_answers == 1
    assert report.last_error == (
        "204, but only 1,990 of 2,000 samples, 0 of 5 exemplars were written"
    )


def test_a_success_without_counts_is_no_receiver_of_version_2() -> None:
    report = settled("204", {}, protocol=2)
    assert report.acknowledged == NOTHING
    assert "does not speak remote write 2.0" in report.last_error


def test_a_refusal_says_what_was_written_all_the_same() -> None:
    report = settled("400", headers(samples=1999, histograms=10, exemplars=5), protocol=2)
    assert report.acknowledged == Amounts(1999, 10, 5)
    assert report.short_answers == 0


def test_more_than_was_sent_does_not_count() -> None:
    assert (
        settled("204", headers(**dict.fromkeys(WRITTEN_HEADERS, 9999)), protocol=2).acknowledged
        == SENT
    )
    assert shortfall("204", SENT, SENT, ALL) == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--protocol", "3"], "--protocol 3: must be 1 or 2"),
        (["--protocol", "two"], "--protocol two: must be 1 or 2"),
        (["--exemplars", "10"], "--exemplars 10: must be a share from 0 to 1"),
        (["--exemplars", "nan"], "--exemplars nan: must be a share from 0 to 1"),
        (["--histograms", "-1"], "--histograms -1: must be a whole number from 0"),
        (["--series", "1.5"], "--series 1.5: must be a whole number from 0"),
        (["--series", "0"], "nothing to send: --series and --histograms are both 0"),
        (["--rate", "inf"], "--rate inf: must be a number from 0"),
        (["--senders", "0"], "--senders 0: must be a whole number from 1 to 1000"),
        (["--metric", ""], "--metric: a metric name must not be empty"),
        (["--url", "localhost"], "--url localhost: needs http:// or https://"),
    ],
)
def test_a_wrong_option_is_one_clear_line(arguments: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        command.main(arguments, standalone_mode=False)
    assert str(caught.value) == complaint
