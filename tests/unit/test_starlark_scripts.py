"""What scripts of Telegraf's make of a series: name, labels, route, drop, or a reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ingest.config import Settings
from ingest.errors import ConfigError
from ingest.intake.explain import Explained, explain_series
from ingest.intake.limits import RequestLimits, TimeLimits
from ingest.intake.remote_write import Decoder
from ingest.model import TenantId
from ingest.routing import Router
from ingest.routing.starlark import NOT_INSTALLED
from ingest.series.cache import SeriesCache
from ingest.wire.remote_write.negotiate import Message
from tests.support.decoding import NOW, YEAR_2000, Decoding, rows_of
from tests.support.series_bytes import bits, labels, sample, write_request

RENAME = """
def apply(metric):
    for k, v in metric.fields.items():
        metric.name = k
        metric.fields["value"] = v
        metric.fields.pop(k)
    return metric
"""


def explained(scripts: list[Any], sent: dict[str, str] | None = None, **settings: Any) -> Explained:
    """What becomes of `Up{job="node"}`, or of what is `sent`."""
    entries = [{"source": one} if isinstance(one, str) else one for one in scripts]
    router = Router(Settings(_env_file=None, starlark=entries, **settings))
    pairs = sent if sent is not None else {"__name__": "Up", "job": "node"}
    return explain_series(router, [(name.encode(), text.encode()) for name, text in pairs.items()])


def body(*lines: str) -> str:
    return "\n".join(["def apply(metric):", *(f"    {line}" for line in lines), ""])


def refusal(*lines: str) -> str | None:
    return explained([body(*lines)]).refusal


@pytest.mark.parametrize(
    ("lines", "stored"),
    [
        (["return metric"], 'Up{job="node"}'),
        (["return [metric]"], 'Up{job="node"}'),
        (["return deepcopy(metric)"], 'Up{job="node"}'),
        (['metric.tags["job"] = "x"', "return metric"], 'Up{job="x"}'),
        (['metric.tags["env"] = "prod"', "return metric"], 'Up{env="prod", job="node"}'),
        (['metric.tags.pop("job")', "return metric"], "Up"),
        (['metric.tags["job"] = ""', "return metric"], "Up"),
        # Whoever only changes the case of a name leaves the label as it was sent.
        (['metric.fields["name"] = "up"', "return metric"], 'Up{job="node"}'),
        (['metric.fields["name"] = "down"', "return metric"], 'down{job="node"}'),
        # A measurement counts where the field is called `value`.
        (['metric.name = "down"', "return metric"], 'Up{job="node"}'),
        (['v = metric.fields.pop("Up")', 'metric.fields["value"] = v', "return metric"],
         'Up{job="node"}'),
        (['v = metric.fields.pop("Up")', 'metric.fields["Load"] = v', "return metric"],
         'Load{job="node"}'),
        (['return Metric("n", tags = {"a": "b"}, fields = {"value": metric.fields["Up"]})'],
         'n{a="b"}'),
        (['return metric if type(metric.fields["Up"]) == "float" else None'], 'Up{job="node"}'),
        (['metric.time = metric.time', "return metric"], 'Up{job="node"}'),
        (['return catch(lambda: fail("x")) and metric'], 'Up{job="node"}'),
        (['metric.tags["h"] = str(hash("hello"))', "return metric"],
         'Up{h="99162322", job="node"}'),
    ],
)  # fmt: skip
def test_names_and_labels(lines: list[str], stored: str) -> None:
    result = explained([body(*lines)])
    assert (result.refusal, result.text) == (None, stored)


def test_the_usual_script_that_renames() -> None:
    assert explained([RENAME]).text == 'Up{job="node"}'
    metric_called_value = {"__name__": "value"}
    assert explained([body("return metric")], metric_called_value).text == "value"


@pytest.mark.parametrize("lines", [["return None"], ["return []"], ["pass"],
                                   ["metric.fields.clear()", "return metric"]])  # fmt: skip
def test_drops(lines: list[str]) -> None:
    described = explained([body(*lines)]).described
    assert described is not None
    assert described.decision.drop
    assert "starlark" in described.decision.rule


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        (['if metric.fields["Up"] > 3:', "    return None", "return metric"], 2, "the value of"),
        (["x = 1", 'y = metric.fields["Up"] * 2', "return metric"], 3, "the value of"),
        (['metric.tags["v"] = str(metric.fields["Up"])', "return metric"], 2, "the value of"),
        (['return max(metric.fields["Up"], 1)'], 2, "the value of"),
        (['return metric if metric.fields["Up"] else None'], 2, "the value of"),
        (['return metric if metric.fields["Up"] == 1 else None'], 2, "the value of"),
        (['return {metric.fields["Up"]: 1}'], 2, "the value of"),
        (['return json.encode(metric.fields["Up"])'], 2, "the value of"),
        (['return "{}".format(metric.fields["Up"])'], 2, "the value of"),
        (['return "%d" % metric.fields["Up"]'], 2, "the value of"),
        (['catch(lambda: str(metric.fields["Up"]))', "return metric"], 2, "the value of"),
        (["return metric.time + 1"], 2, "the time of"),
        (["return [1][metric.time]"], 2, "the time of"),
        (["return range(metric.time)[0]"], 2, "the time of"),
        (["metric.time = 5", "return metric"], 2, "metric.time can only be"),
        (['return metric.fields["nope"]'], 2, 'KeyError: "nope"'),
        (['metric.tags["x"] = 1', "return metric"], 2, "tag 'x' cannot hold a int"),
        (['metric.tags.update({"x": None})', "return metric"], 2, "cannot hold a NoneType"),
        (['metric.fields["x"] = [1]', "return metric"], 2, "field 'x' cannot hold a list"),
        (["metric.tags = {}", "return metric"], 2, "metric.tags cannot be assigned to"),
        (["for k in metric.tags:", '    metric.tags[k + "x"] = ""', "return metric"], 2, "changed"),
        (["KNOWN.append(1)", "return metric"], 2, "frozen"),
        (['fail("two\\nlines")'], 2, "two\\u000alines"),
        (["return apply(metric)"], 2, "called recursively"),
    ],
)
def test_a_script_that_fails_is_named_with_its_line(lines: list[str], line: int, said: str) -> None:
    result = explained([body(*lines) + "KNOWN = []\n"])
    assert result.refusal is not None
    assert result.refusal.startswith(f"starlark[0], line {line}: ")
    assert said in result.refusal
    assert result.refusal.isprintable()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["return 5"], "returned a int"),
        (['return metric.fields["Up"]'], "returned a float"),
        (["return [metric, deepcopy(metric)]"], "returned 2 metrics"),
        (['metric.fields["unit"] = "s"', "return metric"], "'unit' has no place"),
        (['metric.fields.update({"Up": 1.0})', "return metric"], "'Up' has no place"),
        (['return Metric("x", fields = {"schema": "s"})'], "no field is left that carries"),
        (['metric.fields["b"] = metric.fields["Up"]', "return metric"], "2 fields carry"),
        (['metric.fields["schema"] = "x" * 101', "return metric"], "1 to 100 printable"),
        (['metric.fields["schema"] = "\\0"', "return metric"], "1 to 100 printable"),
        (['metric.fields["name"] = ""', "return metric"], "the metric name is empty"),
        (['metric.fields["name"] = "x" * 2001', "return metric"], "longer than 2000 bytes"),
        (['metric.tags["a"] = "\\0"', "return metric"], "U+0000"),
        (['metric.tags[""] = "a"', "return metric"], "empty name"),
        (['metric.tags["a"] = chr(0xD800)', "return metric"], "not valid Unicode"),
    ],
)
def test_what_cannot_be_a_series_is_told(lines: list[str], said: str) -> None:
    assert said in (refusal(*lines) or "")


def test_scripts_go_in_order_and_each_sees_what_those_before_made() -> None:
    scripts = [
        {"source": body('metric.tags["kind"] = "slow"', "return metric")},
        {
            "source": body('metric.fields["schema"] = "s"', 'metric.name = "n"', "return metric"),
            "tagpass": {"kind": ["sl*"]},
        },
        {"source": body('metric.fields["schema"] += "2"', "return metric"), "namepass": "n"},
        {"source": body("return None"), "namepass": ["prometheus_remote_write"]},
        {"source": body("return None"), "tagdrop": {"kind": ["slow", "x"]}},
    ]
    result = explained(scripts)
    assert result.described is not None
    assert result.described.decision[1:] == ("internal", "s2", False)
    assert result.text == 'Up{job="node"}', "`kind` was there for the filters alone"
    scripts[0]["keep"] = "kind"
    assert explained(scripts).text == 'Up{job="node", kind="slow"}'


def test_a_tag_that_was_sent_stays_whatever_asks_for_it() -> None:
    script = {"source": body("return metric"), "tagpass": {"job": ["*"]}}
    assert explained([script]).text == 'Up{job="node"}'


def test_routes_see_added_tags_and_scripts_say_the_schema() -> None:
    script = body('metric.tags["to"] = "sums"', 'metric.fields["schema"] = "s"', "return metric")
    rules = [{"match": {"labels": {"to": "sums"}}, "target": "cumsum", "schema": "other"}]
    result = explained([script], route=rules)
    assert result.described is not None
    assert result.described.decision == ("route[0], [[starlark]]", "cumsum", "s", False)
    assert result.text == 'Up{job="node"}'
    without = explained([], route=[{"target": "cumsum", "schema": "s"}]).described
    assert without is not None
    assert result.described.series.identity == without.series.identity


def test_constants_and_libraries() -> None:
    source = (
        'load("logging.star", "log")\nload("json.star", "json")\n'
        + body("log.warn('seen', job)", "metric.tags[KEY] = json.encode({'a': N})", "return metric")
    ).replace("job)", "metric.tags['job'])")
    script = {"source": source, "constants": {"KEY": "k", "N": 0}}
    assert explained([script]).text == 'Up{job="node", k="{\\"a\\":0}"}'


def test_a_script_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my.star"
    path.write_text(body("return None + metric"))
    script = {"script": str(path)}
    said = explained([script]).refusal
    assert said is not None
    assert said.startswith(f"starlark[0] ({path}), line 2: ")
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        explained([script])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def apply(metric)\n    pass", "starlark[0], line 1: syntax error"),
        (body("return nope"), "starlark[0], line 2: name 'nope' is not defined"),
        ("load('json.star', j = 'json')\ndef f(): return [j.x(i, k = m) for i in []]\n",
         "line 2: name 'm' is not defined"),
        ("fail('a\\nb')", "starlark[0], line 1: a\\u000ab"),
        ("x = {1: 2}\ny = [x.pop(k) for k in x]\n", "starlark[0], line 2: dictionary changed"),
        ("x = 1\ny = x // 0\n", "starlark[0], line 2: integer division by zero"),
        ('load("time.star", "time")\n', 'line 1: load("time.star"): only logging.star'),
        ("def other(metric): pass", "there must be a function apply(metric)"),
        ("def apply(a, b): pass", "there must be a function apply(metric)"),
        ("apply = 3", "there must be a function apply(metric)"),
        ("state = {}\ndef apply(metric): pass", "take its global `state` out"),
        ("x = [i for i in range(1 << 40)]", "line 1: "),
        (f"x = {'(' * 5000}1{')' * 5000}", "nested"),
    ],
)  # fmt: skip
def test_a_script_that_cannot_be_loaded(source: str, said: str) -> None:
    with pytest.raises(ConfigError) as told:
        explained([source])
    assert said in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({}, "needs one of source and script"),
        ({"source": "x", "script": "y"}, "needs one of source and script"),
        ({"source": "x", "nampass": []}, "nampass"),
    ],
)
def test_an_entry_that_is_wrong(script: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        explained([script])


def test_a_pattern_that_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"starlark\[0\]: pattern '\[z-a\]'"):
        explained([{"source": RENAME, "namepass": ["[z-a]"]}])


def test_without_the_extra_it_is_one_line() -> None:
    program = (
        "import sys; sys.modules['starlark'] = None\n"
        "from ingest.cli.main import main; sys.argv = ['promgres', 'config', 'check']; main()"
    )
    environment = {"PROMGRES_STARLARK": '[{"source": "x"}]', "PATH": ""}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (2, f"promgres: {NOT_INSTALLED}\n")


def counted(daemon: Decoding, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The series that scripts are run for, from now on."""
    scripts, asked = daemon.router.scripts, []
    assert scripts is not None
    run = scripts._run
    monkeypatch.setattr(scripts, "_run", lambda *of: asked.append(of) or run(*of))
    return asked


UP = labels(name="up", job="node")


def test_a_series_is_asked_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Decoding.create(starlark=[{"source": body("return metric")}])
    asked = counted(daemon, monkeypatch)
    for moment in range(5):
        intake = daemon.decode(UP + sample(NOW + moment, bits(float(moment))))
        daemon.commit(intake)
    assert len(asked) == 1
    assert rows_of(intake)[0][1:3] == (NOW + 4, bits(4.0))


def test_a_value_label_that_changes_is_no_new_question(monkeypatch: pytest.MonkeyPatch) -> None:
    source = body('if "amount" in metric.tags:', '    fail("seen")', "return metric")
    daemon = Decoding.create(starlark=[{"source": source}])
    asked = counted(daemon, monkeypatch)
    for moment in range(3):
        tokens = labels(name="locked_tokens", amount=str(moment))
        daemon.commit(daemon.decode(tokens + sample(NOW + moment, bits(1.0))))
    assert len(asked) == 1


def test_what_is_refused_and_what_is_dropped_is_asked_about_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = body('if metric.tags["job"] == "bad":', '    fail("bad")', "return None")
    daemon = Decoding.create(starlark=[{"source": source}])
    asked = counted(daemon, monkeypatch)
    for moment in range(3):
        bad, dropped = labels(name="a", job="bad"), labels(name="b", job="good")
        at = sample(NOW + moment, bits(1.0))
        intake = daemon.decode(bad + at, dropped + at)
        assert [one.reason for one in intake.rejections] == [
            'a{job="bad"}: starlark[0], line 3: bad'
        ]
        assert (intake.dropped, intake.rejected, intake.received) == (1, 1, 2)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("lines", "runs"),
    [
        (["return metric"], 2),
        (['metric.tags["pod"] = "x"', "return metric"], 2),
        (['metric.fields["schema"] = metric.tags.get("tier", "none")', "return metric"], 6),
        (['if "pod" in metric.tags:', '    metric.tags.pop("tier", None)', "return metric"], 60),
        (["return deepcopy(metric)"], 60),
        (["for k in metric.tags: pass", "return metric"], 60),
        (["return metric if len(metric.tags) else None"], 60),
        (["return metric if metric.tags else None"], 60),
        (['return Metric("x", fields = metric.fields)'], 60),
        (['metric.tags["a"] = str(metric.tags)', "return metric"], 60),
        (['fail(metric.tags.get("tier", "-"))'], 6),
    ],
)
def test_scripts_are_run_once_for_what_looks_the_same_to_them(
    lines: list[str], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Decoding.create(starlark=[{"source": body(*lines)}])
    asked = counted(daemon, monkeypatch)
    tiers = {"tier": "main"}, {"tier": "test"}, {}
    every = [
        labels(name=name, pod=str(pod), **tier) + sample(NOW, bits(1.0))
        for name in ("up", "down")
        for pod in range(10)
        for tier in tiers
    ]
    for _ in range(2):
        intake = daemon.decode(*every)
    assert len(asked) == runs
    assert len(intake.new) + intake.rejected + intake.dropped == 60


@pytest.mark.parametrize("length", [1, 3000])
def test_memory_of_what_was_said_is_bounded(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr("ingest.routing.starlark.scripts.MOST_BYTES", 21_000)
    source = body('key = metric.tags.get("by", "a")', "metric.tags.get(key)", "return metric")
    daemon = Decoding.create(starlark=[{"source": source}])
    scripts = daemon.router.scripts
    assert scripts is not None
    most = 21_000 // (1000 + length)
    for number in range(100):
        by = str(number).rjust(length, "x")
        assert daemon.decode(labels(name="up", by=by) + sample(NOW, bits(1.0))).new
        assert sum(map(len, scripts._plans.values())) <= most


def test_limits_hold_for_what_scripts_make() -> None:
    script = {"source": body('metric.tags["b"] = "long"', "return metric")}
    settings = Settings(_env_file=None, starlark=[script], limits={"label_value_bytes": 3})
    limits = TimeLimits(lambda target, now_ms: YEAR_2000, 0)
    decoder = Decoder(Router(settings), SeriesCache(10), limits, RequestLimits(settings.limits))
    request = write_request([labels(name="up") + sample(NOW, bits(1.0))])
    intake = decoder.decode(Message.V1, request, TenantId(1), NOW)
    assert "limits.label_value_bytes" in intake.rejections[0].reason
