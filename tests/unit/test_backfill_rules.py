"""Rule files as `promgres backfill` reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ingest.backfill.chained import expand
from ingest.backfill.rules import parse_duration_ms, read_rules
from ingest.errors import OperatorError
from tests.support import old_stack

RULES = """
groups:
  - name: hits
    interval: 15m
    eval_offset: 1m
    limit: 7
    params: {nocache: ["1"]}
    labels: {team: web, tier: one}
    rules:
      - record: job:hits:sum
        expr: sum by (job) (hits)
        labels: {tier: two, gone: ""}
      - alert: TooMany
        expr: hits > 1
  - name: ones
    rules:
      - {record: one, expr: 1}
"""


def _file(folder: Path, text: str, name: str = "rules.yml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_all_of_a_group_is_read(tmp_path: Path) -> None:
    hits, ones = read_rules([_file(tmp_path, RULES)], labels={"by": "replay", "team": "none"})
    assert (hits.name, hits.step_ms, hits.offset_ms, hits.limit) == ("hits", 900_000, 60_000, 7)
    assert hits.params == (("nocache", "1"),)
    assert hits.skipped == 1
    (rule,) = hits.rules
    assert (rule.record, rule.expr) == ("job:hits:sum", "sum by (job) (hits)")
    assert rule.labels == {"by": "replay", "team": "web", "tier": "two", "gone": ""}
    assert (ones.step_ms, ones.rules[0].expr) == (60_000, "1")  # as Prometheus and vmalert have it


def test_a_step_replaces_every_interval(tmp_path: Path) -> None:
    groups = read_rules([_file(tmp_path, RULES)], step_ms=5000)
    assert [group.step_ms for group in groups] == [5000, 5000]


@pytest.mark.parametrize(
    ("text", "length"),
    [("15m", 900_000), ("1h30m", 5_400_000), ("250ms", 250), ("1y", 31_536_000_000)],
)
def test_lengths_of_time(text: str, length: int) -> None:
    assert parse_duration_ms(text) == length


@pytest.mark.parametrize("text", ["", "15", "m", "1.5h", "15 m", "0s", "-1h", "1fortnight"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration_ms(text)


REFUSED = {
    "not valid YAML": ("groups: [", "not valid YAML"),
    "no groups": ("rules: []", "no list `groups`"),
    "a list": ("- name: x", "no list `groups`"),
    "no name": ("groups: [{rules: [{record: a, expr: b}]}]", "group 1: `name` is missing"),
    "no expression": ("groups: [{name: g, rules: [{record: a}]}]", "rule 1 (a): `expr` is missing"),
    "no metric": ("groups: [{name: g, rules: [{expr: b}]}]", "rule 1: `record` is missing"),
    "an interval": (
        "groups: [{name: g, interval: often, rules: [{record: a, expr: b}]}]",
        "`interval`: 'often' is not a length of time",
    ),
    "another query language": (
        "groups: [{name: g, type: graphite, rules: [{record: a, expr: b}]}]",
        "type graphite: only PromQL can be replayed",
    ),
    "rules that are no list": ("groups: [{name: g, rules: all}]", "`rules` must be a list"),
    "labels that are no table": (
        "groups: [{name: g, rules: [{record: a, expr: b, labels: [c]}]}]",
        "`labels` must be a table",
    ),
    "alerts alone": ("groups: [{name: g, rules: [{alert: A, expr: b}]}]", "no recording rule"),
    "two of a name": (
        "groups: [{name: g, rules: [{record: a, expr: b}]}, {name: g}]",
        "two groups 'g'",
    ),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(OperatorError) as refused:
        read_rules([_file(tmp_path, text)])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"none\.yml: No such file"):
        read_rules([tmp_path / "none.yml"])


def test_our_own_rules_are_read() -> None:
    folder = Path(__file__).parents[2] / "deploy" / "vmalert"
    for path in [folder / "rules.yml", *folder.glob("backfill/*.yml")]:
        written = yaml.safe_load(path.read_text())["groups"]
        groups = read_rules([path])
        assert [len(group.rules) for group in groups] == [len(group["rules"]) for group in written]


def test_the_old_stacks_rules_are_taken_as_they_are() -> None:
    files = sorted((old_stack.clone() / "vmalert").glob("*.yml"))
    assert len(files) == 4
    for path in files:
        (group,) = read_rules([path])
        assert group.skipped == 0
        assert expand([group]) == [group]  # none of them reads what another one records
