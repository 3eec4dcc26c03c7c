"""Scripts that would run for ever, or take all memory: they end soon, and say where.

The engine counts only in part (`ingest/routing/starlark/engine.py`); each of these gets around one
of its counters. Time and memory are measured for what they would be without ours: for ever, and
more than there is.
"""

from __future__ import annotations

import time
import tracemalloc

import pytest

from ingest.config import Settings
from ingest.errors import InvalidSeries
from ingest.routing import Router
from ingest.routing.starlark.scripts import Scripts

MIB = 1024 * 1024
SOON_SECONDS = 5.0
"""A hundred times what the slowest of them takes, on a machine of its own."""
MOST_BYTES = 64 * MIB
UP = (("__name__", "up"), ("job", "node"))

ENDLESS = {
    "a loop": "for i in range(1 << 60): pass",
    "loops in loops": "for i in range(1 << 20):\n        for j in range(1 << 20): pass",
    "a comprehension": "[1 for i in range(1 << 60)]",
    "a comprehension of nothing": "[1 for i in range(1 << 60) if i < 0]",
    "a built-in function that goes through a range": "all(range(1, 1 << 60))",
    "another": "any([0]) or sum(range(1 << 60))",
    "a range too long for len()": "list(range(1 << 80))",
    "a search": "(1 << 60) in list(range(1 << 24))",
    "arguments": "g(*range(1 << 60))",
    "an assignment": "a, b = range(1 << 60)",
    "an assignment that goes on": "x = []\n    x += range(1 << 60)",
    "comparing lists that double": "a = []; b = []\n    for i in range(64):\n"
        "        a = [a, a]; b = [b, b]\n    a == b",
    "a text of lists that double": "a = []\n    for i in range(64): a = [a, a]\n    str(a)",
    "JSON of lists that double": "a = []\n    for i in range(64): a = [a, a]\n    json.encode(a)",
    "tuples that double, as a key": "a = ()\n    for i in range(64): a = (a, a)\n    {a: 1}",
    "tuples that double, looked up": "a = ()\n    for i in range(64): a = (a, a)\n    {}.get(a)",
    "sorting": "sorted([i * 7919 % 10007 for i in range(9000)])",
    "numbers that are squared": "x = 3\n    for i in range(1 << 30): x = x * x",
    "what is caught": "catch(lambda: [1 for i in range(1 << 60)])\n    g(lambda: 1)",
    "what a built-in function calls": "sorted(range(99), key = lambda x: all(range(1, 999)))",
}  # fmt: skip
LARGE = {
    "a list": "[0] * (1 << 40)",
    "a tuple": "(0,) * (1 << 40)",
    "a text": "'x' * (1 << 40)",
    "a list of lists": "[[0] * 1000 for i in range(1 << 20)]",
    "a text that is doubled": "s = 'x'\n    for i in range(64): s += s",
    "doubled by %": "s = 'x'\n    for i in range(64): s = '%s%s' % (s, s)",
    "doubled by %=": "s = 'x'\n    for i in range(64): t = '%s%s'; t %= (s, s); s = t",
    "doubled by format": "s = '{0}{0}'\n    for i in range(64): s = s.format(s)",
    "a format that says it often": "('{0}' * 100000).format('x' * 100000)",
    "doubled by join": "s = 'x'\n    for i in range(64): s = s.join([s, s, s])",
    "a separator that comes often": "('x' * 100000).join([''] * 100000)",
    "doubled by replace": "s = 'x' * 100\n    for i in range(64): s = s.replace('x', s)",
    "replaced often": "('x' * 100000).replace('x', 'y' * 100000)",
    "replaced where nothing is": "('x' * 100000).replace('', 'y' * 100000)",
    "slices that are kept": "s = 'x' * 100000; l = []\n    for i in range(9000): l.append(s[1:])",
    "texts that are kept": "s = 'x' * 100000; [s.upper() for i in range(4000)]",
    "characters": "[('x' * 100000).elems() for i in range(1000)]",
    "lists that are kept": "l = list(range(5000)); [l + l for i in range(4000)]",
    "tags": "for i in range(1 << 30): metric.tags['t' + str(i)] = 'x' * 1000",
    "copies": "l = []\n    for i in range(1 << 30): l.append(deepcopy(metric))",
}  # fmt: skip


def ask(statements: str) -> str:
    """Why a script with these statements is refused, soon and with little memory."""
    source = f"def g(*a): a[0]()\ndef apply(metric):\n    {statements}\n    return metric\n"
    scripts = Router(Settings(_env_file=None, starlark=[{"source": source}])).scripts
    assert isinstance(scripts, Scripts)
    tracemalloc.start()
    try:
        started = time.perf_counter()
        with pytest.raises(InvalidSeries) as told:
            scripts.ask(UP)
        assert time.perf_counter() - started < SOON_SECONDS
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert str(told.value).startswith("starlark[0], line ")
    return str(told.value)


@pytest.mark.parametrize("name", ENDLESS)
def test_what_would_run_for_ever_ends(name: str) -> None:
    said = ask(ENDLESS[name])
    assert "limits.script_steps" in said or "too large" in said or "sequence assignment" in said


@pytest.mark.parametrize("name", LARGE)
def test_what_would_take_all_memory_ends(name: str) -> None:
    said = ask(LARGE[name])
    assert "limits.script" in said or "excessive" in said or "repeat" in said


def deep(depth: int) -> str:
    functions = [f"def f{i}(): return f{i + 1}()" for i in range(depth)]
    return "\n".join([*functions, f"def f{depth}(): return 1", "def apply(m): return f0()"])


@pytest.mark.parametrize(
    "source",
    [
        "def apply(metric): return apply(metric)",
        deep(3000),
        f"def apply(metric): return {'[' * 200}1{']' * 200}",
        "def apply(metric):\n    x = []\n    for i in range(3000): x = [x]\n    return str(x)",
        "def apply(metric):\n    x = []\n    x.append(x)\n    return json.encode(x)",
    ],
)
def test_what_is_too_deep_is_refused(source: str) -> None:
    scripts = Router(Settings(_env_file=None, starlark=[{"source": source}])).scripts
    assert scripts is not None
    with pytest.raises(InvalidSeries, match=r"^starlark\[0\]"):
        scripts.ask(UP)


def test_all_scripts_share_what_one_series_may_take() -> None:
    busy = {"source": "def apply(metric):\n    [i for i in range(50)]\n    return metric\n"}
    most = {"script_steps": 1000}
    one = Router(Settings(_env_file=None, starlark=[busy], limits=most)).scripts
    ten = Router(Settings(_env_file=None, starlark=[busy] * 10, limits=most)).scripts
    assert one is not None
    assert one.ask(UP).labels == UP
    assert ten is not None
    with pytest.raises(InvalidSeries, match="more than 1000 operations"):
        ten.ask(UP)


def test_memory_is_counted_across_scripts_too() -> None:
    busy = {"source": "def apply(metric):\n    'x' * 60000\n    return metric\n"}
    scripts = Router(
        Settings(_env_file=None, starlark=[busy] * 3, limits={"script_memory_bytes": 150_000})
    ).scripts
    assert scripts is not None
    with pytest.raises(InvalidSeries, match=r"starlark\[2\], line 2: more than 150000 bytes"):
        scripts.ask(UP)


def test_an_ordinary_script_comes_nowhere_near() -> None:
    """A list of some hundred names, a loop over all tags, texts put together."""
    source = """
NAMES = ["name%d" % i for i in range(300)]

def apply(metric):
    found = []
    for key, text in sorted(metric.tags.items()):
        found.append("{}={}".format(key, text.replace("_", "-").upper()))
        if text in NAMES:
            metric.tags[key] = text.split("_")[0]
    metric.tags["all"] = ",".join(found)
    return metric
"""
    labels = (("__name__", "up"), *((f"label{i:02}", "some_value_" * 5) for i in range(40)))
    scripts = Router(Settings(_env_file=None, starlark=[{"source": source}])).scripts
    assert scripts is not None
    assert dict(scripts.ask(labels).labels)["all"].startswith("label00=SOME-VALUE-")
