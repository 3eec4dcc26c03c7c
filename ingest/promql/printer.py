"""A tree as text: in one line (`str` of Prometheus), or as `format_query` lays it out."""

from __future__ import annotations

import re

from ingest.promql import tree
from ingest.promql.gotext import go_g, go_quote, number_text
from ingest.promql.matchers import Matcher

_LONGEST_LINE = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A unit is used where it leaves nothing over (weeks) or always (hours).
_UNITS = [
    ("y", 31_536_000_000, True),
    ("w", 604_800_000, True),
    ("d", 86_400_000, True),
    ("h", 3_600_000, False),
    ("m", 60_000, False),
    ("s", 1_000, False),
    ("ms", 1, False),
]


def duration_text(milliseconds: int) -> str:
    """`5400000` as `1h30m`."""
    if milliseconds == 0:
        return "0s"
    text = ""
    for unit, length, must_divide in _UNITS:
        if must_divide and milliseconds % length:
            continue
        if milliseconds >= length:
            text += f"{milliseconds // length}{unit}"
            milliseconds %= length
    return text


def matcher_text(matcher: Matcher) -> str:
    return f"{label_name(matcher.name)}{matcher.op}{go_quote(matcher.value)}"


def text(node: tree.Node) -> str:
    """A tree in one line; parsing it gives the same tree."""
    match node:
        case tree.Number():
            if not node.is_duration:
                return number_text(node.value)
            sign = "-" if node.value < 0 else ""
            return sign + duration_text(int(abs(node.value) * 1e9) // 1_000_000)
        case tree.Text():
            return go_quote(node.value)
        case tree.Duration():
            return _duration(node)
        case tree.Selector():
            return _selector(node)
        case tree.Range():
            length = text(node.range_text) if node.range_text else duration_text(node.range_ms)
            extension = f" {node.selector.extension}" if node.selector.extension else ""
            return f"{_series(node.selector)}[{length}]{extension}{_times(node.selector)}"
        case tree.Subquery():
            return text(node.body) + _subquery(node)
        case tree.Call():
            return f"{node.function.name}({', '.join(map(text, node.arguments))})"
        case tree.Aggregate():
            parameter = f"{text(node.parameter)}, " if node.parameter is not None else ""
            return f"{_aggregator(node)}({parameter}{text(node.body)})"
        case tree.Binary():
            return f"{text(node.left)} {_operator(node)} {text(node.right)}"
        case tree.Unary():
            return node.op + text(node.body)
        case tree.Paren():
            return f"({text(node.body)})"
    raise TypeError(f"no text for {type(node).__name__}")


def label_name(name: str) -> str:
    """A label's name, quoted unless it is one of the old kind."""
    return name if _NAME.fullmatch(name) else go_quote(name)


def _labels(names: list[str]) -> str:
    return ", ".join(map(label_name, names))


def _duration(node: tree.Duration) -> str:
    if node.op in ("step", "range"):
        found = f"{node.op}()"
    elif node.op in ("min_of", "max_of"):
        found = f"{node.op}({text(_side(node.left))}, {text(_side(node.right))})"
    elif node.left is None:
        found = ("-" if node.op == "-" else "") + text(_side(node.right))
    else:
        found = f"{text(node.left)} {node.op} {text(_side(node.right))}"
    return f"({found})" if node.wrapped else found


def _side(node: tree.Node | None) -> tree.Node:
    assert node is not None
    return node


def _series(node: tree.Selector) -> str:
    shown = [
        matcher_text(matcher)
        for matcher in node.matchers
        if not (
            (matcher.name, matcher.op) == ("__name__", "=") and matcher.value == node.name != ""
        )
    ]
    return node.name + (f"{{{','.join(sorted(shown))}}}" if shown else "")


def _times(node: tree.Moved) -> str:
    """` @ …` and ` offset …`."""
    return _at(node) + _offset(node)


def _at(node: tree.Moved) -> str:
    if node.at_ms is not None:
        return f" @ {node.at_ms / 1000:.3f}"
    return f" @ {node.at_edge}()" if node.at_edge else ""


def _offset(node: tree.Moved) -> str:
    if node.offset_text is not None:
        return f" offset {_duration(node.offset_text)}"
    if not node.offset_ms:
        return ""
    sign = "-" if node.offset_ms < 0 else ""
    return f" offset {sign}{duration_text(abs(node.offset_ms))}"


def _selector(node: tree.Selector) -> str:
    extension = f" {node.extension}" if node.extension else ""
    return f"{_series(node)}{_at(node)}{extension}{_offset(node)}"


def _subquery(node: tree.Subquery) -> str:
    length = text(node.range_text) if node.range_text else duration_text(node.range_ms)
    step = duration_text(node.step_ms) if node.step_ms else ""
    if node.step_text is not None:
        step = text(node.step_text)
    return f"[{length}:{step}]{_times(node)}"


def _aggregator(node: tree.Aggregate) -> str:
    if node.without:
        return f"{node.op} without ({_labels(node.grouping)}) "
    return f"{node.op} by ({_labels(node.grouping)}) " if node.grouping else node.op


def _operator(node: tree.Binary) -> str:
    """An operator with its modifiers."""
    found = node.op + (" bool" if node.is_bool else "")
    matching = node.matching
    if matching is None:
        return found
    grouped = matching.card in ("many-to-one", "one-to-many")
    if matching.labels or matching.on or grouped:
        found += f" {'on' if matching.on else 'ignoring'} ({_labels(matching.labels)})"
    if grouped:
        side = "left" if matching.card == "many-to-one" else "right"
        found += f" group_{side} ({_labels(matching.include)})"
    left, right = matching.fill_left, matching.fill_right
    if left is not None and left == right:
        return f"{found} fill ({go_g(left)})"
    if left is not None:
        found += f" fill_left ({go_g(left)})"
    if right is not None:
        found += f" fill_right ({go_g(right)})"
    return found


def pretty(node: tree.Node, level: int = 0) -> str:
    """A tree in lines of at most 100 characters where it can be split, two spaces a level."""
    indent = "  " * level
    line = text(node)
    if isinstance(node, tree.Subquery):
        # Without an indent of its own: its body has it.
        is_long = len(line.encode()) > _LONGEST_LINE
        return pretty(node.body, level) + _subquery(node) if is_long else line
    if isinstance(node, tree.Unary):
        return indent + node.op + pretty(node.body, level).strip()
    if len(line.encode()) <= _LONGEST_LINE:
        return indent + line

    def inner(child: tree.Node) -> str:
        return pretty(child, level + 1)

    match node:
        case tree.Aggregate():
            parameter = f"{inner(node.parameter)},\n" if node.parameter is not None else ""
            head = f"{indent}{_aggregator(node)}(\n{parameter}"
            return f"{head}{inner(node.body)}\n{indent})"
        case tree.Binary():
            return f"{inner(node.left)}\n{indent}{_operator(node)}\n{inner(node.right)}"
        case tree.Call():
            arguments = ",\n".join(map(inner, node.arguments))
            return f"{indent}{node.function.name}(\n{arguments}\n{indent})"
        case tree.Paren():
            return f"{indent}(\n{inner(node.body)}\n{indent})"
    return indent + line
