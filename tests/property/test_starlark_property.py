"""Whatever scripts do: they say the same of the same series, or refuse it in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ingest.config import Settings
from ingest.errors import ConfigError, InvalidSeries
from ingest.intake.explain import explain_series
from ingest.model import Labels
from ingest.routing import Router
from ingest.routing.starlark import Outcome
from ingest.routing.starlark.filters import compile_globs

texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)
label_sets = st.dictionaries(texts.filter(bool), texts, max_size=5).flatmap(
    lambda tags: texts.filter(bool).map(lambda name: {**tags, "__name__": name})
)
KEYS, VALUES = ["a", "b", "job"], ["", "x", "y", "job"]


def router(*sources: str, **settings: Any) -> Router:
    entries = [{"source": source} for source in sources]
    return Router(Settings(_env_file=None, starlark=entries, **settings))


def pairs_of(labels: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), text.encode()) for name, text in labels.items()]


KEEPS = router("def apply(metric):\n    return deepcopy(metric)\n")
PLAIN = router()


@given(label_sets)
def test_a_script_that_changes_nothing_changes_nothing(labels: dict[str, str]) -> None:
    with_it, without = (
        explain_series(KEEPS, pairs_of(labels)),
        explain_series(PLAIN, pairs_of(labels)),
    )
    assert with_it == without


class Model:
    """What a script has made so far, said without Starlark."""

    def __init__(self, labels: dict[str, str]) -> None:
        self.tags = {label: text for label, text in labels.items() if label != "__name__"}
        self.name = labels["__name__"]
        self.schema: str | None = None
        self.is_dropped = False


Step = tuple[str, Callable[[Model], None]]


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """A statement, and what it does to the model."""
    key, value = draw(st.sampled_from(KEYS)), draw(st.sampled_from(VALUES))

    def renamed(model: Model) -> None:
        model.name = f"new_{value}"

    def scheduled(model: Model) -> None:
        model.schema = f"s{value}"

    def copied(model: Model) -> None:
        if key in model.tags:
            model.tags[value + "_"] = model.tags[key]

    def dropped(model: Model) -> None:
        model.is_dropped |= model.tags.get(key) == value

    return draw(
        st.sampled_from(
            [
                (f'metric.tags["{key}"] = "{value}"', lambda m: m.tags.update({key: value})),
                (f'metric.tags.pop("{key}", None)', lambda m: m.tags.pop(key, None)),
                (f'metric.tags.setdefault("{key}", "{value}")',
                 lambda m: m.tags.setdefault(key, value)),
                (f'metric.fields["schema"] = "s{value}"', scheduled),
                (f'metric.fields["name"] = "new_{value}"', renamed),
                (f'if "{key}" in metric.tags: metric.tags["{value}_"] = metric.tags["{key}"]',
                 copied),
                (f'if metric.tags.get("{key}") == "{value}": return None', dropped),
            ]
        )
    )  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES[1:])),
    st.lists(st.lists(steps(), max_size=5), min_size=1, max_size=3),
)
def test_scripts_do_what_they_say(labels: dict[str, str], scripts: list[list[Step]]) -> None:
    labels = {"__name__": "up", **labels}
    model = Model(labels)
    for script in scripts:
        for _, does in script:
            if not model.is_dropped:
                does(model)
    sources = [
        "\n    ".join(["def apply(metric):", *(text for text, _ in script), "return metric\n"])
        for script in scripts
    ]
    described = explain_series(router(*sources), pairs_of(labels)).described
    assert described is not None
    assert described.decision.drop == model.is_dropped
    if model.is_dropped:
        return
    expected = {**{k: v for k, v in model.tags.items() if v}, "__name__": model.name}
    assert dict(described.series.labels) == expected
    assert described.series.schema == (model.schema or "common")
    plain = explain_series(PLAIN, pairs_of(expected)).described
    assert plain is not None
    if model.schema is None:
        assert described.series == plain.series


WORDS = """
    metric metric.tags metric.fields metric.name metric.time v k 'x' '%s' 1 0 -1 1.5 None True
    [] {} () + - * / // % == != < in not and or if else for lambda : , ( ) [ ] { } . = += |= return
    len( str( range( sorted( list( dict( deepcopy( Metric( catch( hash( fail( .items() .get(
    .pop( .update( .append( .format( .join( .replace( .split( .keys() .values() json.encode(
"""
tokens = st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=9).map(" ".join)
lines = st.one_of(
    tokens,
    tokens.map("return {}".format),
    tokens.map("v = {}".format),
    tokens.map("metric.tags['x'] = {}".format),
    tokens.map("metric.fields['x'] = {}".format),
    tokens.map("[{} for k in range(1 << 40)]".format),
)
UP: Labels = (("__name__", "up"), ("job", "node"))


def said(source: str) -> Outcome | str:
    """What it makes of a series, or why not."""
    limits = {"script_steps": 500, "script_memory_bytes": 50_000}
    try:
        scripts = router(source, limits=limits).scripts
        assert scripts is not None
        return scripts.ask(UP)
    except (ConfigError, InvalidSeries) as error:
        return str(error)


@given(st.lists(lines, min_size=1, max_size=3))
def test_any_text_is_a_script_or_is_not_and_says_the_same_twice(statements: list[str]) -> None:
    loop = ["def apply(metric):", "    for k, v in metric.fields.items():"]
    body = [f"        {one}" for one in statements]
    source = "\n".join([*loop, *body, "    return metric", ""])
    outcome = said(source)
    assert said(source) == outcome
    if isinstance(outcome, str):
        assert outcome.isprintable()
    elif outcome.dropped_by is None:
        assert outcome.asked["__name__"]
        assert set(outcome.labels) <= set(outcome.asked.items())


LOOKS = [
    'metric.tags["all"] = ",".join(sorted(metric.tags))',
    'metric.tags["many"] = str(len(metric.tags))',
    "metric = deepcopy(metric)",
    "metric.tags.clear()",
    'metric = Metric("m", tags = {"a": metric.tags.get("b", "-")}, fields = metric.fields)',
    'if metric.tags: metric.tags["any"] = "x"',
    'if "a" in metric.tags and metric.tags["a"] == metric.tags.get("b"): fail(metric.tags["a"])',
    'metric.tags.popitem() if "job" in metric.tags else None',
    'metric.tags |= {"c": metric.tags.get("job", "none")}',
    'metric.name = metric.tags.get("a", "unnamed")',
    'metric.fields["name"] = metric.fields.keys()[0] + metric.tags.setdefault("b", "")',
]
some_series = st.fixed_dictionaries(
    {"__name__": st.sampled_from(["up", "Up", "down"])},
    optional={key: st.sampled_from(VALUES[1:]) for key in (*KEYS, "z")},
)


@given(
    st.lists(some_series, min_size=2, max_size=8),
    st.lists(st.one_of(st.sampled_from(LOOKS), steps().map(lambda step: step[0])), max_size=6),
    st.booleans(),
)
def test_what_is_remembered_is_what_would_be_said_again(
    every: list[dict[str, str]], statements: list[str], is_filtered: bool
) -> None:
    """Scripts are not run again for what looks the same to them."""
    source = "\n    ".join(["def apply(metric):", *statements, "return metric\n"])
    after = {"source": 'def apply(metric):\n    metric.tags["d"] = "e"\n    return metric\n'}
    scripts: list[Any] = [{"source": source}]
    if is_filtered:
        scripts += [{**after, "tagpass": {"a": "x", "c": "y"}, "tagdrop": {"z": "*"}}]
    settings = Settings(_env_file=None, starlark=scripts)
    one = Router(settings)
    for labels in every:
        assert explain_series(one, pairs_of(labels)) == explain_series(
            Router(settings), pairs_of(labels)
        )


@given(st.lists(texts, min_size=1, max_size=3), texts)
def test_plain_words_are_patterns_of_themselves(words: list[str], other: str) -> None:
    plain = ["".join(one for one in word if one not in "*?[]{}\\,!") for word in words]
    pattern = compile_globs(plain)
    assert all(pattern.fullmatch(word) for word in plain)
    assert bool(pattern.fullmatch(other)) == (other in plain)
    together = compile_globs(["{" + ",".join(plain) + "}", "*!", "?"])
    assert all(together.fullmatch(word) for word in plain)
    assert together.fullmatch(other + "!")
    assert bool(together.fullmatch(other)) == (
        other in plain or other.endswith("!") or len(other) == 1
    )
