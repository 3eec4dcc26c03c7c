"""`promgres route`, as it is typed."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cramjam import snappy, zstd

from ingest.cli.main import main
from ingest.errors import OperatorError
from ingest.labeltext import parse_labels
from tests.support.series_bytes import label, labels, sample, write_request

NOW = 1_760_000_000_000


Route = Callable[..., tuple[int, str, str]]


@pytest.fixture
def route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Route:
    """`promgres route`, called in a directory of the test's own: status, output, complaint."""

    def call(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["promgres", "route", *arguments])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capfd.readouterr()  # type: ignore[return-value]

    return call


def test_one_series(route: Route) -> None:
    text = '{__name__="locked_tokens",amount="15",manifest_tier="mainnet"}'
    status, out, _ = route("--labels", text)
    assert status == 0
    assert out.splitlines() == [
        "rule              target    schema   value label  series",
        'built-in mainnet  internal  mainnet  amount = 15  locked_tokens{manifest_tier="mainnet"}',
    ]


def test_own_rules_of_the_file_count(tmp_path: Path, route: Route) -> None:
    rule = '[[route]]\nmatch = { name = "up" }\ndrop = true\n'
    (tmp_path / "promgres.toml").write_text(rule)
    status, out, _ = route("--labels", "up")
    assert status == 0
    assert out.splitlines()[1].split() == ["route[0]", "dropped", "-", "-", "up"]


BODY = write_request(
    [
        labels(name="up", job="node") + sample(NOW, 1) + sample(NOW + 1, 1),
        labels(name="locked_fees", amount="1e5") + sample(NOW, 1),
        label("job", "x") + sample(NOW, 1),
    ]
)


@pytest.mark.parametrize(
    "body",
    [BODY, bytes(snappy.compress_raw(BODY)), bytes(zstd.compress(BODY))],
    ids=["plain", "snappy", "zstd"],
)
def test_a_recorded_body(tmp_path: Path, route: Route, body: bytes) -> None:
    (tmp_path / "body").write_bytes(body)
    status, out, _ = route("--body", "body")
    assert status == 0
    assert [re.split(r"  +", line) for line in out.splitlines()[1:]] == [
        ["2", "no rule", "internal", "common", "-", 'up{job="node"}'],
        ["1", "no rule", "internal", "common", "amount (no decimal, stays a label)",
         'locked_fees{amount="1e5"}'],
        ["1", "refused", "-", "-", "-", '{job="x"}: label __name__ is missing'],
    ]  # fmt: skip
    assert route("--body", "-", stdin=body)[1] == out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "route needs one of --labels and --body"),
        (("--labels", "up", "--body", "x"), "route needs one of --labels and --body"),
        (("--labels", '{a="b"}'), '{a="b"}: label __name__ is missing'),
        (("--labels", '{a="b"'), "is not a label set"),
        (("--body", "missing"), "missing: No such file or directory"),
        (("--body", "."), ".: Is a directory"),
        (("--body", "garbage"), "garbage: the body is not a snappy block"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, route: Route, arguments: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "garbage").write_bytes(b"\xff" * 20)
    status, out, err = route(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("promgres: ")
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("up", [("__name__", "up")]),
        (" up { } ", [("__name__", "up")]),
        ('up{job="a,}b",}', [("__name__", "up"), ("job", "a,}b")]),
        ('{__name__="up", a = "\\"\\n\\u00e9"}', [("__name__", "up"), ("a", '"\né')]),
        ('{"my metric","a b"="c"}', [("__name__", "my metric"), ("a b", "c")]),
        ('{a="1",a="2"}', [("a", "1"), ("a", "2")]),
        ("{}", []),
    ],
)
def test_label_texts(text: str, pairs: list[tuple[str, str]]) -> None:
    assert parse_labels(text) == [(name.encode(), value.encode()) for name, value in pairs]


@pytest.mark.parametrize(
    "text", ["", "{", "}", "up{a}", "up{a=b}", 'up{a="b" c="d"}', 'up{a="\\x"}', 'up{a="b}', "a b"]
)
def test_what_is_no_label_text(text: str) -> None:
    with pytest.raises(OperatorError):
        parse_labels(text)
