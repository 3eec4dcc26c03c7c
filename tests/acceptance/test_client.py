"""The Python client, and the commands built on it, against a real daemon."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from promgres_client import AsyncClient, Client
from tests.support.compose import ROOT
from tests.support.databases import blocking
from tests.support.processes import PROMGRES, Program, child, run, wait_until
from tests.support.stack import Stack, running_stack

README = (ROOT / "client" / "README.md").read_text()
NOBODY = "pmk_aaaaaaaaaaaa_" + "A" * 43
OFFLINE = re.compile(r"No matching distribution|Could not find a version|NewConnectionError")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack() as running:
        yield running


@pytest.fixture(scope="module", params=["write", "read"])
def url(stack: Stack, request: pytest.FixtureRequest) -> str:
    """Of either port: both take and give everything."""
    return _base(stack.write_url if request.param == "write" else stack.read_url)


@pytest.fixture(scope="module")
def write_url(stack: Stack) -> str:
    return _base(stack.write_url)


def _base(url: str) -> str:
    found = re.match(r"http://[^/]+", url)
    assert found
    return found[0]


def _fetch(stack: Stack, query: str, *arguments: object) -> list[tuple[object, ...]]:
    async def fetch() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(stack.database_url)
        try:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()

    return blocking(fetch())


def test_the_example_of_the_readme(write_url: str, tmp_path: Path) -> None:
    """As typed: only the address differs, and the clone is a folder with the client in it."""
    blocks = re.findall(r"```(\w*)\n(.*?)```", README, re.S)
    (_, commands), (_, example), (_, expected) = blocks[1:4]
    assert "http://127.0.0.1:9273" in example
    (tmp_path / "client").symlink_to(ROOT / "client")
    (tmp_path / "example.py").write_text(example.replace("http://127.0.0.1:9273", write_url))
    done = run(
        "sh", "-ec", commands.replace("install ", "install --quiet "), cwd=tmp_path, seconds=150
    )
    if done.process.returncode and OFFLINE.search(done.stderr):
        pytest.skip("pip reaches no package index, so it cannot build the client")
    assert (done.process.returncode, done.stdout) == (0, expected), done.output
    pip = tmp_path / "try-it" / "bin" / "pip"
    listed = run(pip, "list", "--format=freeze").stdout.split()
    assert {line.split("==")[0] for line in listed} <= {"pip", "setuptools", "promgres-client"}


def test_what_is_recorded_is_stored_and_read_back(url: str) -> None:
    name = f"both {url}"
    with Client(url, gzip=True) as client:
        for number in range(2_500):
            client.measure(name, number, time=1_790_000_000 + number, half=number % 2, text="ä" * 9)
        client.measure(name, 2**64 + 1, time=1_790_000_000)
        assert client.flush()
        assert (client.acknowledged, client.dropped) == (2_501, 0)
        rows = list(client.measures(name))
        assert sorted(row.value for row in rows) == [*range(2_500), 2**64 + 1]
        assert rows == sorted(rows, key=lambda row: row.time, reverse=True)
        assert [row.value for row in client.measures(name, attributes={"half": 1}, limit=2)] == [
            2_499,
            2_497,
        ]


async def test_asyncio(url: str) -> None:
    name = f"async {url}"
    async with AsyncClient(url) as client:
        client.event(name, deep={"list": [1, None, "x"]})
        assert await client.flush()
        (event,) = [event async for event in client.events(name)]
    assert event.attributes == {"deep": {"list": [1, None, "x"]}}


def test_one_bad_item_does_not_spoil_the_others(url: str) -> None:
    with Client(url) as client:
        for number in range(10):
            client.event("good" if number != 4 else "control\x00character")
        assert client.flush()
        assert (client.acknowledged, client.dropped_by_cause) == (9, {"refused": 1})


def test_sent_twice_with_the_same_keys_stored_once(stack: Stack, write_url: str) -> None:
    for _ in range(2):
        with Client(write_url) as client:
            for number in range(100):
                client.event("once", idempotency_key=f"event {number}")
                client.measure("once", number, idempotency_key=f"measure {number}", time=1.79e9)
    assert client.acknowledged == 200
    assert _fetch(stack, "SELECT count(*) FROM app.event WHERE name = 'once'") == [(100,)]
    assert _fetch(stack, "SELECT count(*) FROM app.measure WHERE name = 'once'") == [(100,)]


def test_a_daemon_killed_in_the_middle_loses_and_repeats_nothing(
    stack: Stack, write_url: str
) -> None:
    items = 30_000
    started = threading.Event()
    with Client(write_url, when_full="block", max_items=4_000, batch_items=1_000) as client:

        def record() -> None:
            for number in range(items):
                client.event("survives", number=number)
                if client.acknowledged > items // 3:
                    started.set()

        thread = threading.Thread(target=record)
        thread.start()
        assert started.wait(60)
        child(stack.program.pid, "promgres ingest").kill()
        thread.join(120)
        assert not thread.is_alive()
        assert client.flush(120)
        assert (client.acknowledged, client.dropped) == (items, 0)
    counts = "count(*), count(DISTINCT attributes->'number')"
    stored = _fetch(stack, f"SELECT {counts} FROM app.event WHERE name = 'survives'")
    assert stored == [(items, items)]


def test_a_wrong_key_is_refused_and_told_nowhere(
    write_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(write_url, NOBODY) as client:
        client.event("secret")
        assert client.flush()
        assert client.dropped_by_cause == {"refused": 1}
    assert "401" in caplog.text
    assert NOBODY not in caplog.text


def test_pipe_and_query(url: str) -> None:
    name = f"piped {url}"
    lines = [
        {"name": name, "value": 0.1, "metadata": {"shop": "Köln"}, "time": 1_790_000_000},
        [{"M": {"name": name, "measurement": 0, "dict": {}}}],
        {"name": name},
        {"name": ""},
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n{nothing}"
    exact = "12345678901234567890.123"
    piped = _promgres("pipe", "--url", url, stdin=text.replace(": 0,", f": {exact},"))
    assert piped.returncode == 1
    first, second, last = piped.stderr.splitlines()
    assert {first.split(":")[0], second.split(":")[0]} == {"line 4", "line 5"}
    assert last == "3 stored, 2 refused"

    asked = _promgres("query", "measures", "--name", name, "--json", "--url", url)
    newest, oldest = (json.loads(line, parse_float=str) for line in asked.stdout.splitlines())
    assert oldest["time"] == "2026-09-21T14:13:20.000000Z"
    assert oldest["attributes"] == {"shop": "Köln"}
    assert newest["value"] == exact

    shop = '{"shop": "Köln"}'
    table = _promgres("query", "measures", "--attributes", shop, "--name", name, "--url", url)
    assert [line.split()[-1] for line in table.stdout.splitlines()] == ["attributes", "shop=Köln"]
    none = _promgres("query", "events", "--name", name, "--to", "2000-01-01", "--url", url)
    assert none.stdout == "nothing found\n"


def test_pipe_says_when_all_is_stored(write_url: str) -> None:
    line = json.dumps({"name": "fine", "time": 1_790_000_000, "idempotency_key": "k"})
    for _ in range(2):
        piped = _promgres("pipe", "--url", write_url, stdin=line)
        assert (piped.returncode, piped.stderr) == (0, "1 stored, 0 refused\n")
    asked = _promgres("query", "events", "--name", "fine", "--json", "--url", write_url)
    assert len(asked.stdout.splitlines()) == 1


def test_what_query_prints_is_what_pipe_reads(write_url: str) -> None:
    name = 'copied ,"attributes":'
    sent = [{"n": 9007199254740993, "attributes": {}}, [1, "x"], "text", None]
    for number, each in enumerate(sent):
        _promgres(
            "pipe",
            "--url",
            write_url,
            stdin=json.dumps({"name": name, "dict": each, "time": number + 1_790_000_000}),
        )
    copy = ("query", "events", "--name", name, "--json", "--url", write_url)
    printed = _promgres(*copy).stdout
    assert _promgres("pipe", "--url", write_url, stdin=printed).stderr == "4 stored, 0 refused\n"
    assert sorted(_promgres(*copy).stdout.splitlines()) == sorted(printed.splitlines() * 2)


def test_agent(write_url: str) -> None:
    assert _promgres("agent", "--once", "--url", write_url).returncode == 0
    asked = _promgres("query", "events", "--name", "node_data", "--json", "--url", write_url)
    facts = json.loads(asked.stdout.splitlines()[0])["attributes"]
    assert set(facts) == {
        "time", "agent_id", "machine", "processor", "node", "platform", "system", "release",
        "version", "cpu_usage", "cpu_freq", "loadavg", "memory", "swap",
    }  # fmt: skip
    measures = _promgres("query", "measures", "--json", "--limit", "0", "--url", write_url).stdout
    assert '"node_cpu_percent"' in measures


def test_the_agent_reports_until_it_is_told_to_end(write_url: str) -> None:
    agent = Program(PROMGRES, "agent", "--interval", "0.1", "--url", write_url)
    with agent, Client(write_url) as client:
        started = datetime.now(UTC)
        wait_until(lambda: len(list(client.events("node_data", since=started))) >= 3)
        assert agent.stop() == 0, agent.output
        facts = [event.attributes["agent_id"] for event in client.events(since=started)]
        assert len(set(facts)) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pipe", "--url", "here"], "a URL is http://HOST:PORT"),
        (["query", "events", "--key", f"{NOBODY} "], "an API key consists of"),
        (["query", "events", "--url", "http://127.0.0.1:1", "--from", "soon"], "no time such as"),
        (["query", "events", "--attributes", "[]"], "not a JSON object such as"),
    ],
)
def test_what_the_operator_can_mend_is_one_line(arguments: list[str], words: str) -> None:
    done = _promgres(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert NOBODY not in done.stderr


def _promgres(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROMGRES, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
