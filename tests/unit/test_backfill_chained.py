"""Rules whose expressions read what rules before them record."""

from __future__ import annotations

import pytest

from ingest.backfill.chained import expand
from ingest.backfill.rules import Group, Rule
from ingest.errors import OperatorError

HITS = 'label_replace((sum(hits)), "__name__", "job:hits", "", "")'


def _expanded(second: str, labels: dict[str, str] | None = None) -> str:
    """The second of two rules; the first records `job:hits`."""
    rules = (
        Rule("job:hits", "sum(hits)", labels or {}, "rule 1"),
        Rule("second", second, {}, "rule 2"),
    )
    (group,) = expand([Group("g", 900_000, rules)])
    return group.rules[1].expr


UNCHANGED = [
    "sum(hits)",
    "job:hits:sum",
    "a_job:hits",
    "sum by (job:hits) (up)",
    'up{job="job:hits"}',
    "rate(up[5m]) # job:hits",
    '{__name__="up"}',
    "up offset 5m + on (job) group_left (job:hits) down",
    "1e3 + .5 + 0x1F",
    '"job:hits"',
    'up{a="b" or c="d"}',
    '{a="b" or c="d"}',
    "up{a='b', c=~`d`,}",
    "sum without (a, b) (up)",
]


@pytest.mark.parametrize("expr", UNCHANGED)
def test_what_reads_nothing_recorded_stays_as_it_is(expr: str) -> None:
    assert _expanded(expr) == expr


CASES = {
    "job:hits": f"({HITS})",
    "job:hits * 2": f"({HITS}) * 2",
    "sum(job:hits) by (x)": f"sum(({HITS})) by (x)",
    '{__name__="job:hits"}': f"({HITS})",
    '{"job:hits"}': f"({HITS})",
    "rate(job:hits[1h])": f"rate(({HITS})[1h:900000ms])",
    "max_over_time(job:hits [1h:1m])": f"max_over_time(({HITS})[1h:1m])",
    "rate(job:hits[1h] offset 1d)": f"rate(({HITS})[1h:900000ms] offset 1d)",
    "job:hits offset 1h - 1": f"last_over_time(({HITS})[5m:900000ms] offset 1h) - 1",
    "job:hits offset -1h": f"last_over_time(({HITS})[5m:900000ms] offset - 1h)",
    "job:hits @ 1700000000": f"last_over_time(({HITS})[5m:900000ms] @ 1700000000)",
}


@pytest.mark.parametrize(("expr", "expanded"), CASES.items())
def test_the_rule_stands_in_its_place(expr: str, expanded: str) -> None:
    assert _expanded(expr) == expanded


def test_labels_that_the_rule_sets_are_set() -> None:
    assert _expanded("job:hits", {"cost": '$5 "net"\\', "gone": ""}) == (
        r'(label_replace(label_replace(label_replace((sum(hits)), "cost", "$$5 \"net\"\\", "", ""),'
        r' "gone", "", "", ""), "__name__", "job:hits", "", ""))'
    )


def test_matchers_choose_from_the_result() -> None:
    assert _expanded('job:hits{path="/a.b"}') == (
        f'label_replace((label_replace(({HITS}), "__promgres_matched", "1", "path", "\\\\/a\\\\.b")'
        ' and on (__promgres_matched) label_replace(vector(1), "__promgres_matched", "1", "", "")),'
        ' "__promgres_matched", "", "", "")'
    )
    assert " unless on (__promgres_matched) " in _expanded('job:hits{path!~"a|b"}')


def test_rules_of_one_name_are_one_metric() -> None:
    rules = (
        Rule("height", 'max(h{net="a"})', {}, "rule 1"),
        Rule("height", 'max(h{net="b"})', {}, "rule 2"),
        Rule("twice", "2 * height", {}, "rule 3"),
    )
    (group,) = expand([Group("g", 60_000, rules)])
    assert group.rules[1].expr == rules[1].expr
    assert group.rules[2].expr.count(" or ") == 1


def test_a_rule_of_its_own_name_reads_the_data_source() -> None:
    rules = (Rule("price", "price", {}, "rule 1"), Rule("price", 'price{x="y"}', {}, "rule 2"))
    assert expand([Group("g", 60_000, rules)])[0].rules == rules


def test_chains_go_through_groups_and_are_as_long_as_they_are() -> None:
    one = Group("one", 60_000, (Rule("a", "raw", {}, "rule 1"), Rule("b", "a + 1", {}, "rule 2")))
    two = Group("two", 60_000, (Rule("c", "b + 1", {}, "rule 3"),))
    expr = expand([one, two])[1].rules[0].expr
    assert "raw" in expr
    assert expr.endswith(" + 1")
    assert expand([two, one])[0].rules == two.rules  # only rules before it


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ('{__name__=~"job:.*"}', "by a pattern of names"),
        ("job:hits @ end()", r"@ end\(\) cannot be put"),
        ("job:hits{x}", "rule 2: matchers are not understood"),
        ('job:hits{a="b" or c="d"}', "rule 2: matchers are not understood"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(expr: str, said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        _expanded(expr)
