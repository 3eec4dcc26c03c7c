"""PromQL's grammar and types: Prometheus' messages at their places, and what is printed."""

from __future__ import annotations

import pytest

from ingest.errors import PromqlSyntax
from ingest.promql import tree
from ingest.promql.parser import ALL_FEATURES, Features, parse, parse_duration_ms, parse_selector
from ingest.promql.printer import duration_text, pretty, text

# Each was compared with what Prometheus 3.14 says.
ERRORS = [
    ("", "unknown position: parse error: no expression found in input"),
    ("  # nothing", "1:1: parse error: no expression found in input"),
    ("sum(", "1:5: parse error: unclosed left parenthesis"),
    ("a[", "1:3: parse error: unexpected end of input in duration expression"),
    ("a)", "1:3: parse error: unexpected right parenthesis ')'"),
    ("a]", "1:2: parse error: unexpected right bracket ']'"),
    ("a{", "1:3: parse error: unexpected end of input inside braces"),
    ("a{b", '1:4: parse error: unexpected end of input inside braces'),
    ('a{b="c"', "1:8: parse error: unexpected end of input inside braces"),
    ('a{b="c" d="e"}', '1:9: parse error: unexpected identifier "d" in label matching, expected "," or "}"'),
    ("a{b=1}", "1:5: parse error: unexpected character inside braces: '1'"),
    ("a{b=c}", '1:5: parse error: unexpected identifier "c" in label matching, expected string'),
    ("a{=}", '1:3: parse error: unexpected "=" in label matching, expected identifier or "}"'),
    ('a{b="c" or d="e"}', '1:9: parse error: unexpected identifier "or" in label matching, expected "," or "}"'),
    ('a{b!"c"}', "1:4: parse error: unexpected character after '!' inside braces: '\"'"),
    ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    ('{a=~".*"}', "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    ('a{__name__="b"}', '1:1: parse error: metric name must not be set twice: "a" or "b"'),
    ('a{b=~"*"}', "1:3: parse error: error parsing regexp: missing argument to repetition operator: `*`"),
    ("a[5m", "1:5: parse error: unclosed left bracket"),
    ("a[0]", "1:3: parse error: duration must be greater than 0"),
    ("a[-5m]", "1:3: parse error: duration must be greater than 0"),
    ("a[5m:x]", "1:6: parse error: unexpected character: 'x', expected ':'"),
    ("a[foo]", "1:3: parse error: unexpected character in duration expression: 'f'"),
    ("a[1y2y]", '1:3: parse error: bad number or duration syntax: "1y2"'),
    ("sum(a)[5m]", "1:7: parse error: ranges only allowed for vector selectors"),
    ("a offset 5m[5m]", "1:12: parse error: no offset modifiers allowed before range"),
    ("a @ 5 [5m]", "1:7: parse error: no @ modifiers allowed before range"),
    ("a offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
    ("a offset", "1:9: parse error: unexpected end of input in offset, expected number, duration, step(), or range()"),
    ("1 offset 5m", "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery"),
    ("a @", "1:4: parse error: unexpected end of input in @, expected timestamp"),
    ("a @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
    ("a @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
    ("foo(a)", '1:1: parse error: unknown function with name "foo"'),
    ("rate(a)", '1:6: parse error: expected type range vector in call to function "rate", got instant vector'),
    ("rate(a[5m], b)", '1:1: parse error: expected 1 argument(s) in call to "rate", got 2'),
    ("round()", '1:1: parse error: expected at least 1 argument(s) in call to "round", got 0'),
    ("round(a, 1, 2)", '1:1: parse error: expected at most 2 argument(s) in call to "round", got 3'),
    ("rate(a[5m],)", "1:11: parse error: trailing commas not allowed in function call args"),
    ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
    ("topk(a)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
    ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
    ('topk("a", b)', "1:6: parse error: expected type scalar in aggregation parameter, got string"),
    ("sum by a (b)", '1:8: parse error: unexpected identifier "a" in grouping opts, expected "("'),
    ("sum by (a b) (c)", '1:11: parse error: unexpected identifier "b" in grouping opts, expected "," or ")"'),
    ("sum by (1) (a)", '1:9: parse error: unexpected number "1" in grouping opts, expected label'),
    ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
    ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
    ("a[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
    ("1 and 2", '1:1: parse error: set operator "and" not allowed in binary scalar expression'),
    ("a and on(b) group_left c", '1:1: parse error: no grouping allowed for "and" operation'),
    ("a + on(b) group_left(b) c", '1:3: parse error: label "b" must not occur in ON and GROUP clause at once'),
    ("a + on(b) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
    ("a + fill(1) 1", "1:1: parse error: filling in missing series only allowed between instant vectors"),
    ("a or fill(1) b", "1:1: parse error: filling in missing series not allowed for set operators"),
    ("-a[5m]", '1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "range vector"'),
    ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
    ('"a', "1:1: parse error: unterminated quoted string"),
    (r'"\z"', "1:1: parse error: unknown escape sequence U+007A 'z'"),
    ("`a", "1:1: parse error: unterminated raw string"),
    ("1 ! 2", "1:3: parse error: unexpected character after '!': ' '"),
    ("a =~ b", "1:3: parse error: unexpected character after '=': '~'"),
    ("a = b", '1:3: parse error: unexpected "="'),
    ("a b", '1:3: parse error: unexpected identifier "b"'),
    ("a +", "1:4: parse error: unexpected end of input"),
    ("a ++ * b", "1:6: parse error: unexpected <op:*>"),
    ("$", "1:1: parse error: unexpected character: '$'"),
    ("1e999", '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "1e999": value out of range'),
    ("5mx", '1:1: parse error: bad number or duration syntax: "5mx"'),
    ("a\n  +\n    b c", '3:7: parse error: unexpected identifier "c"'),
    ('é + "', "1:1: parse error: unexpected character: 'é'"),
    ('"é" + b c', '1:10: parse error: unexpected identifier "c"'),
    ("sum(a", "1:6: parse error: unclosed left parenthesis"),
    ("info(a, b)", "1:9: parse error: expected label selectors only, got vector selector instead"),
    ("info(a, 1)", '1:1: parse error: expected type instant vector in call to function "info", got scalar'),
    ("a[5m] anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
    ("a[1m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
    ("a[5m/0]", "1:5: parse error: division by zero"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "message"), ERRORS)
def test_what_is_no_query_is_refused_in_prometheus_words(query: str, message: str) -> None:
    with pytest.raises(PromqlSyntax) as error:
        parse(query, ALL_FEATURES)
    assert str(error.value) == message
    assert error.value.error_type == "bad_data"


FLAGS = [
    ("limitk(1, a)", "limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions"),
    ("info(a)", 'function "info" is not enabled'),
    ("a[5m+1m]", "experimental duration expression is not enabled"),
    ("a offset step()", "experimental duration expression is not enabled"),
    ("a smoothed", "smoothed modifier is experimental and not enabled"),
    ("rate(a[5m] anchored)", "anchored modifier is experimental and not enabled"),
    ("a + fill(0) b", "binop fill modifiers are experimental and not enabled"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "message"), FLAGS)
def test_experimental_parts_need_their_feature(query: str, message: str) -> None:
    with pytest.raises(PromqlSyntax, match=r"^1:\d+: parse error: ") as error:
        parse(query, Features())
    assert str(error.value).endswith(message)
    parse(query, ALL_FEATURES)


def test_depth_is_bounded() -> None:
    with pytest.raises(PromqlSyntax, match="nested deeper"):
        parse("(" * 5000 + "1" + ")" * 5000)
    with pytest.raises(PromqlSyntax, match="nested deeper"):
        parse("-" * 5000 + "a")
    with pytest.raises(PromqlSyntax, match="nested deeper"):
        parse(f"a[{'(' * 5000}1{')' * 5000}]", ALL_FEATURES)
    with pytest.raises(PromqlSyntax, match="nested deeper"):
        parse(" + ".join(["a"] * 5000))
    with pytest.raises(PromqlSyntax, match="nested deeper"):
        parse(f"a[{'+'.join(['1m'] * 5000)}]", ALL_FEATURES)
    assert text(parse(" + ".join(["a"] * 100))).count("a") == 100


PRINTED = [
    ("sum by() (a)", "sum(a)"),
    ("sum without() (a)", "sum without () (a)"),
    ('sum by("foo.bar") (a)', 'sum by ("foo.bar") (a)'),
    ("sum(a) by (b)", "sum by (b) (a)"),
    ("a - on() c", "a - on () c"),
    ("a - ignoring() c", "a - c"),
    ("a - ignoring() group_left c", "a - ignoring () group_left () c"),
    ("a + fill_left(5) fill_right(5) b", "a + fill (5) b"),
    ("a + fill(1e6) b", "a + fill (1e+06) b"),
    ('{b="1",a="2"}', '{a="2",b="1"}'),
    ('{"my.metric", "a b"="c"}', '{"a b"="c",__name__="my.metric"}'),
    ("a offset 90m", "a offset 1h30m"),
    ("a[1w] offset -8d", "a[1w] offset -8d"),
    ("a[5m] @ 10 offset 1m", "a[5m] @ 10.000 offset 1m"),
    ("a[5m] anchored @ start()", "a[5m] anchored @ start()"),
    ("a[30:15]", "a[30s:15s]"),
    ("a[(5m + 1m)]", "a[(5m + 1m)]"),
    ("a[-(-5m)]", "a[-(-5m)]"),
    ("a offset -max_of(1m, step())", "a offset -max_of(1m, step())"),
    ("0x1f + 1_000 + 5m", "31 + 1000 + 5m"),
    ("-1 ^ 2", "-1 ^ 2"),
    ("INF + nan", "+Inf + NaN"),
    ("SUM(a) == BOOL 1", "sum(a) == bool 1"),
    (r'count_values("\n", a)', r'count_values("\n", a)'),
]


@pytest.mark.parametrize(("query", "printed"), PRINTED)
def test_it_is_printed_as_prometheus_does(query: str, printed: str) -> None:
    assert text(parse(query, ALL_FEATURES)) == printed


def test_long_queries_are_laid_out() -> None:
    query = (
        'sum by (job, instance) (rate(http_requests_total{job="api-server",handler="/api"}[5m]))'
        ' / on (job) group_left () topk(3, some_other_metric_with_a_long_name{environment="x"})'
    )
    assert pretty(parse(query)) == (
        '  sum by (job, instance) (rate(http_requests_total{handler="/api",job="api-server"}[5m]))\n'
        "/ on (job) group_left ()\n"
        '  topk(3, some_other_metric_with_a_long_name{environment="x"})'
    )


def test_operators_bind_as_in_prometheus() -> None:
    power = parse("-a ^ b * c")
    assert isinstance(power, tree.Binary)
    assert power.op == "*"
    assert isinstance(power.left, tree.Unary)
    right = parse("a ^ b ^ c")
    assert isinstance(right, tree.Binary)
    assert isinstance(right.right, tree.Binary)
    left = parse("a - b - c")
    assert isinstance(left, tree.Binary)
    assert isinstance(left.left, tree.Binary)


def test_a_selector_alone() -> None:
    assert [(m.name, m.op, m.value) for m in parse_selector('up{job!~"a|b"}')] == [
        ("job", "!~", "a|b"),
        ("__name__", "=", "up"),
    ]
    with pytest.raises(PromqlSyntax):
        parse_selector("sum(up)")
    with pytest.raises(PromqlSyntax):
        parse_selector("up + 1")


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [("1h30m", 5_400_000), ("1y", 31_536_000_000), ("0", 0), ("5ms", 5)],
)
def test_durations(written: str, milliseconds: int) -> None:
    assert parse_duration_ms(written) == milliseconds
    assert parse_duration_ms(duration_text(milliseconds)) == milliseconds


@pytest.mark.parametrize("written", ["", "5", "1m1h", "1.5h", "-1m", "99999y"])
def test_durations_that_are_none(written: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration_ms(written)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (".*((?i)DUC).*", "a duck", "a dog"),
        ("a|b", "a", "ab"),
        ("a.c", "a\nc", "ac"),
        (r"\pL+", "é", "1"),
        ("(?P<x>a)", "a", "b"),
    ],
)
def test_patterns_are_re2_and_anchored(pattern: str, matching: str, other: str) -> None:
    (matcher,) = parse_selector(f"{{a=~`{pattern}`}}")
    assert matcher.matches(matching)
    assert not matcher.matches(other)
    (negated,) = parse_selector(f"{{a!~`{pattern}`}}")
    assert negated.matches(other)
