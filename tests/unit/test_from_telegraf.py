"""`promgres config from-telegraf`, and what scripts as those of the old stack make of series."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from ingest.cli.config import command
from ingest.cli.telegraf import Converted, promgres_toml, read_telegraf
from ingest.config import Settings
from ingest.errors import ConfigError
from ingest.intake.explain import explain_series
from ingest.routing import Router
from tests.support.telegraf import GEO, LIKE_THE_OLD_STACK, SUMS

OLD_STACK = "PROMGRES_TEST_OLD_STACK"
LIKE_ITS_SERIES = [
    {"__name__": name, "instance": "a:1", **tier}
    for name in ("up", "Blockchain_Height", "locked_tokens", *tomllib.loads(f"x={SUMS}")["x"],
                 *tomllib.loads(f"x={GEO}")["x"])
    for tier in ({}, {"manifest_tier": "mainnet"}, {"manifest_tier": "testnet"},
                 {"manifest_tier": "devnet", "amount": "123427004070058399998"})
]  # fmt: skip


def the_old_stack() -> tuple[str, list[dict[str, str]]]:
    """Its telegraf.conf, and what its vmalert rules record, with the labels that they name."""
    clone = os.environ.get(OLD_STACK)
    if not clone:
        pytest.skip(f"{OLD_STACK} names no clone of the old stack")
    series = []
    for path in sorted((Path(clone) / "vmalert").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                by = re.findall(r"by\s*\(([^)]*)\)", rule["expr"])
                kept = {name.strip(): "a" for names in by for name in names.split(",")}
                said = dict(re.findall(r'(\w+)="([^"]*)"', rule["expr"]))
                for labels in ({}, kept, said, rule.get("labels", {})):
                    series.append({"__name__": rule["record"], **labels})
    return (Path(clone) / "telegraf" / "telegraf.conf").read_text(), series


def settings_of(text: str) -> Settings:
    return Settings(_env_file=None, **tomllib.loads(promgres_toml(read_telegraf(text, {}))))


@pytest.mark.parametrize("which", ["like it", "the real one"])
def test_schema_target_and_labels_are_those_of_the_built_in_rules(which: str) -> None:
    text, every = (LIKE_THE_OLD_STACK, LIKE_ITS_SERIES) if which == "like it" else the_old_stack()
    with_scripts, built_in = Router(settings_of(text)), Router(Settings(_env_file=None))
    seen = set()
    for series in every:
        pairs = [(name.encode(), value.encode()) for name, value in series.items()]
        ours = explain_series(built_in, pairs).described
        theirs = explain_series(with_scripts, pairs).described
        assert ours is not None
        assert theirs is not None, explain_series(with_scripts, pairs).refusal
        seen.add(ours.series.schema)
        assert theirs.series.schema == ours.series.schema, series
        assert theirs.series.labels == ours.series.labels
        assert (theirs.series.name, theirs.exact) == (ours.series.name, ours.exact)
        if ours.series.target == "geo":
            assert theirs.series.target == "internal", "where the old stack had it"
        else:
            assert theirs.series == ours.series, series
    assert seen == {"common", "mainnet", "testnet", "cumsum", "geo"}


@pytest.mark.parametrize("which", ["like it", "the real one"])
def test_a_rule_that_is_offered_puts_coordinates_where_the_built_in_rule_does(which: str) -> None:
    text = LIKE_THE_OLD_STACK if which == "like it" else the_old_stack()[0]
    written = promgres_toml(read_telegraf(text, {}))
    offered = re.sub(r"^# (\[\[route|match|target|schema)", r"\1", written, flags=re.M)
    router = Router(Settings(_env_file=None, **tomllib.loads(offered)))
    found = explain_series(router, [(b"__name__", b"manifest_geo_latitude")]).described
    assert found is not None
    assert (found.series.target, found.series.schema) == ("geo", "geo")


def convert(text: str, tmp_path: Path, **environment: str) -> Result:
    path = tmp_path / "telegraf.conf"
    path.write_bytes(text.encode("utf-8-sig"))
    arguments = ["from-telegraf", str(path)]
    return CliRunner().invoke(command, arguments, env=environment, catch_exceptions=True)


def test_what_is_written_and_what_is_left_out(tmp_path: Path) -> None:
    text = LIKE_THE_OLD_STACK + (
        '[[processors.rename]]\n[[inputs.cpu]]\n[[outputs.file]]\n[global_tags]\ndc = "x"\n'
    )
    result = convert(text, tmp_path, SECRET="postgres://u:hunter2@h/d")
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert "4 scripts, 2 routes; left out: 4" in result.stderr
    for one in ("processors.rename", "inputs.cpu", "outputs.file", "global_tags"):
        assert one in result.stderr
        assert f"#   {one}" in result.stdout
    assert "filter" not in result.stderr, "it is there in vain"
    settings = Settings(_env_file=None, **tomllib.loads(result.stdout))
    assert [script.tagpass for script in settings.starlark][1:3] == [
        {}, {"filter_name": tomllib.loads(f"x={SUMS}")["x"]}
    ]  # fmt: skip
    assert [rule.target for rule in settings.route] == ["cumsum", "internal"]


def outputs(*tables: str) -> list[dict[str, object]]:
    text = "".join(f"[[outputs.postgresql]]\n{table}\n" for table in tables)
    return read_telegraf(text, {}).route


def test_an_output_that_takes_all_is_a_rule_without_conditions() -> None:
    assert outputs('schema = "staging_geo"') == [{"target": "geo"}]
    assert outputs("") == [{"target": "internal"}]
    assert outputs('namepass = ["prometheus_*"]') == [{"target": "internal"}]


def test_what_no_output_takes_is_dropped() -> None:
    assert outputs('tagpass = { job = ["a*", "b"] }') == [
        {"match": {"labels_regex": {"job": "(?s:a.*)|b"}}, "target": "internal"},
        {"drop": True},
    ]
    assert outputs('namepass = ["cpu"]\nschema = "cumsum"') == [
        {"match": {"name_regex": "cpu"}, "target": "cumsum"},
        {"drop": True},
    ]


def test_one_of_several_tags_is_enough_and_none_of_several_may_be_there() -> None:
    routes = outputs('tagpass = { a = "1", b = "2" }\ntagdrop = { c = ["3"], a = ["x*"] }')
    router = Router(Settings(_env_file=None, route=routes))
    taken = {"a": "1"}, {"b": "2"}, {"a": "9", "b": "2"}, {"a": "1", "c": "4"}
    dropped = {}, {"a": "2"}, {"a": "1", "c": "3"}, {"b": "2", "a": "x1"}
    for labels in taken:
        assert not router.decide("up", {"__name__": "up", **labels}).drop, labels
    for labels in dropped:
        assert router.decide("up", {"__name__": "up", **labels}).drop, labels


def test_variables_are_put_in_as_telegraf_does_it() -> None:
    text = """
[[processors.starlark]]
  script = "${FOLDER:-/etc}/${NAME}.star"
  namepass = ["$PATTERN"]
[[processors.starlark]]
  script = "${UNSET}"
"""
    converted = read_telegraf(text, {"NAME": "my", "PATTERN": ""})
    assert [one["script"] for one in converted.starlark] == ["/etc/my.star", "${UNSET}"]
    assert converted.starlark[0]["namepass"] == [""]


@pytest.mark.parametrize(
    "source",
    ["def apply(m): return m", "x = '''\n'''\ndef apply(m): return m", "def apply(m): return 'x'",
     "def apply(m):\r\n\treturn '\\u00e4\x7f'\n", "\ndef apply(m): return m\n\n",
     "def apply(m): return \"\\\\\" + '\U0001f600'"],
)  # fmt: skip
def test_a_script_comes_out_as_it_went_in(source: str) -> None:
    again = tomllib.loads(promgres_toml(Converted([{"source": source}], [], [])))
    assert again["starlark"] == [{"source": source}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[processors.starlark]\n", "not valid TOML"),
        ("interval = $UNSET\n", "not valid TOML"),
        ("processors = 3", "processors is not a table"),
        ("inputs = 3", "inputs is not a table"),
        ("[inputs]\ncpu = 3", "inputs.cpu is not a table"),
        ("[[outputs.postgresql]]\ntagpass = 3", "outputs.postgresql[0].tagpass: "),
        ("[processors]\nstarlark = [3]", "processors.starlark is not a table"),
        ("[[processors.starlark]]\nsource = 'x = '\n[[outputs.postgresql]]", "line 1: syntax"),
        ("[[processors.starlark]]\nsource = 3\n[[outputs.postgresql]]", "source: "),
        ("[[processors.starlark]]\n[[outputs.postgresql]]", "needs one of source and script"),
        ('[[outputs.postgresql]]\nnamepass = ["[z-a]"]', "pattern '[z-a]'"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    result = convert(text, tmp_path)
    assert isinstance(result.exception, ConfigError)
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["from-telegraf", str(tmp_path / "none")])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).endswith("none: No such file or directory")
