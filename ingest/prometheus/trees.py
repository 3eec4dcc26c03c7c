"""The tree of a query as `parse_query` shows it (Prometheus' web/api/v1/translate_ast.go)."""

from __future__ import annotations

from typing import Any

from ingest.promql import tree
from ingest.promql.gotext import number_text


def translated(node: tree.Node | None) -> dict[str, Any] | None:
    """A node and all below it."""
    match node:
        case None:
            return None
        case tree.Aggregate():
            return {
                "type": "aggregation",
                "op": node.op,
                "expr": translated(node.body),
                "param": translated(node.parameter),
                "grouping": node.grouping,
                "without": node.without,
            }
        case tree.Binary():
            return {
                "type": "binaryExpr",
                "op": node.op,
                "lhs": translated(node.left),
                "rhs": translated(node.right),
                "matching": _matching(node.matching),
                "bool": node.is_bool,
            }
        case tree.Call():
            function = node.function
            return {
                "type": "call",
                "func": {
                    "name": function.name,
                    "argTypes": list(function.takes),
                    "variadic": function.optional,
                    "returnType": function.returns,
                },
                "args": [translated(argument) for argument in node.arguments],
            }
        case tree.Range():
            return {
                **_selector(node.selector),
                "type": "matrixSelector",
                "range": node.range_ms,
            }
        case tree.Subquery():
            return {
                "type": "subquery",
                "expr": translated(node.body),
                "range": node.range_ms,
                "step": node.step_ms,
                **_moved(node),
            }
        case tree.Number():
            return {"type": "numberLiteral", "val": number_text(node.value)}
        case tree.Text():
            return {"type": "stringLiteral", "val": node.value}
        case tree.Paren():
            return {"type": "parenExpr", "expr": translated(node.body)}
        case tree.Unary():
            return {"type": "unaryExpr", "op": node.op, "expr": translated(node.body)}
        case tree.Selector():
            return _selector(node)
    raise AssertionError(node)


def _selector(node: tree.Selector) -> dict[str, Any]:
    return {
        "type": "vectorSelector",
        "name": node.name,
        "matchers": [
            {"name": matcher.name, "value": matcher.value, "type": matcher.op}
            for matcher in node.matchers
        ],
        "anchored": node.extension == "anchored",
        "smoothed": node.extension == "smoothed",
        **_moved(node),
    }


def _moved(node: tree.Moved) -> dict[str, Any]:
    return {"offset": node.offset_ms, "timestamp": node.at_ms, "startOrEnd": node.at_edge}


def _matching(matching: tree.Matching | None) -> dict[str, Any] | None:
    if matching is None:
        return None
    return {
        "card": matching.card,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    }
