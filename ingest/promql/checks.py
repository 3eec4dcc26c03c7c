"""Whether the parts of a tree fit: types of operands and arguments, modifiers, empty selectors.
Checks run from the left and inside out, and the first that fails is the error, as in Prometheus."""

from __future__ import annotations

from typing import NoReturn

from ingest.errors import PromqlSyntax
from ingest.promql import tree
from ingest.promql.gotext import go_quote
from ingest.promql.lexer import COMPARISONS, SET_OPERATORS

_DOCUMENTED = {"vector": "instant vector", "matrix": "range vector"}


def documented(kind: str) -> str:
    """A type as messages call it."""
    return _DOCUMENTED.get(kind, kind)


def check(node: tree.Node, text: str) -> None:
    """Check a tree that the parser made of `text`; settle the matching of its operators.

    Raises:
        PromqlSyntax: the first part that does not fit.
    """
    match node:
        case tree.Aggregate():
            _aggregation(node, text)
        case tree.Binary():
            _binary(node, text)
        case tree.Call():
            _call(node, text)
        case tree.Selector():
            _selector(node, text)
        case tree.Subquery():
            check(node.body, text)
            if node.body.type != "vector":
                got = node.body.type
                message = f"subquery is only allowed on instant vector, got {got} instead"
                _fail(node, text, message)
        case tree.Unary():
            check(node.body, text)
            if node.type not in ("scalar", "vector"):
                kind = go_quote(documented(node.type))
                _fail(
                    node,
                    text,
                    "unary expression only allowed on expressions of type scalar or instant "
                    f"vector, got {kind}",
                )
        case _:
            for child in node.children():
                check(child, text)


def _fail(node: tree.Node, text: str, message: str) -> NoReturn:
    raise PromqlSyntax(message, text, node.start)


def _expect(node: tree.Node, wanted: str, where: str, text: str) -> None:
    check(node, text)
    if node.type != wanted:
        got = documented(node.type)
        _fail(node, text, f"expected type {documented(wanted)} in {where}, got {got}")


def _aggregation(node: tree.Aggregate, text: str) -> None:
    _expect(node.body, "vector", "aggregation expression", text)
    if node.parameter is not None:
        wanted = "string" if node.op == "count_values" else "scalar"
        _expect(node.parameter, wanted, "aggregation parameter", text)


def _binary(node: tree.Binary, text: str) -> None:
    check(node.left, text)
    check(node.right, text)
    left, right, matching = node.left.type, node.right.type, node.matching
    assert matching is not None  # a fresh tree; it is dropped below where it says nothing
    # Where the operator stands: after the left side and white space.
    operator = node.left.end
    while text[operator : operator + 1].isspace():
        operator += 1
    if node.is_bool and node.op not in COMPARISONS:
        message = "bool modifier can only be used on comparison operators"
        raise PromqlSyntax(message, text, operator)
    if node.op in COMPARISONS and not node.is_bool and left == right == "scalar":
        message = "comparisons between scalars must use BOOL modifier"
        raise PromqlSyntax(message, text, operator)
    if node.op in SET_OPERATORS and matching.card == "one-to-one":
        matching.card = "many-to-many"
    for label in matching.labels:
        if matching.on and label in matching.include:
            message = f"label {go_quote(label)} must not occur in ON and GROUP clause at once"
            raise PromqlSyntax(message, text, operator)
    for side in (node.left, node.right):
        if side.type not in ("scalar", "vector"):
            message = "binary expression must contain only scalar and instant vector types"
            _fail(side, text, message)
    _check_matching(node, matching, text)


def _check_matching(node: tree.Binary, matching: tree.Matching, text: str) -> None:
    filled = matching.fill_left is not None or matching.fill_right is not None
    if not node.left.type == node.right.type == "vector":
        if matching.labels:
            _fail(node, text, "vector matching only allowed between instant vectors")
        if filled:
            _fail(node, text, "filling in missing series only allowed between instant vectors")
        node.matching = None
        if node.op in SET_OPERATORS:
            message = f"set operator {go_quote(node.op)} not allowed in binary scalar expression"
            _fail(node, text, message)
    elif node.op in SET_OPERATORS:
        if matching.card in ("one-to-many", "many-to-one"):
            _fail(node, text, f"no grouping allowed for {go_quote(node.op)} operation")
        if filled:
            _fail(node, text, "filling in missing series not allowed for set operators")


def _call(node: tree.Call, text: str) -> None:
    function, given = node.function, len(node.arguments)
    name, wanted = go_quote(function.name), len(function.takes)
    if not function.optional:
        if given != wanted:
            _fail(node, text, f"expected {wanted} argument(s) in call to {name}, got {given}")
    elif given < wanted - 1:
        message = f"expected at least {wanted - 1} argument(s) in call to {name}, got {given}"
        _fail(node, text, message)
    elif 0 < function.optional < given - (wanted - 1):
        most = wanted - 1 + function.optional
        _fail(node, text, f"expected at most {most} argument(s) in call to {name}, got {given}")
    if function.name == "info" and given > 1:
        _check_info(node, text)
    for position, argument in enumerate(node.arguments):
        kind = function.takes[min(position, wanted - 1)]
        _expect(argument, kind, f"call to function {name}", text)


def _check_info(node: tree.Call, text: str) -> None:
    """The second argument of info() selects labels alone."""
    labels = node.arguments[1]
    if labels.type != "vector":
        got = documented(labels.type)
        where = 'call to function "info"'
        _fail(node, text, f"expected type instant vector in {where}, got {got}")
    if not isinstance(labels, tree.Selector):
        _fail(labels, text, "expected label selectors only")
    if labels.name:
        _fail(labels, text, "expected label selectors only, got vector selector instead")
    labels.may_be_empty = True


def _selector(node: tree.Selector, text: str) -> None:
    if node.name:
        for matcher in node.matchers[:-1]:
            if matcher.name == "__name__":
                names = f"{go_quote(node.name)} or {go_quote(matcher.value)}"
                _fail(node, text, f"metric name must not be set twice: {names}")
    elif not node.may_be_empty and all(matcher.matches("") for matcher in node.matchers):
        _fail(node, text, "vector selector must contain at least one non-empty matcher")
