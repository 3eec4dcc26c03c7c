"""SQL has files of its own, where an editor knows it for what it is; Python's is `sql/queries/`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES = 3
STATEMENT = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|GRANT|REVOKE|CALL|COPY|DO|SET|TRUNCATE)"
    r"\s+\S"
)


def long_statements(path: Path) -> Iterator[str]:
    """Where a string begins that is SQL, and has more lines than may stand in Python."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if node in prose or not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
        text = first.value if isinstance(first, ast.Constant) else None
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if isinstance(text, str) and STATEMENT.match(text) and lines > MOST_LINES:
            yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_no_long_sql_in_python() -> None:
    sources = [*(ROOT / "ingest").rglob("*.py"), *(ROOT / "client").rglob("*.py")]
    found = [place for path in sources for place in long_statements(path)]
    assert found == []


def test_it_would_be_found() -> None:
    assert list(long_statements(Path(__file__))) == [
        f"tests/unit/test_sql_stands_in_files.py:{EXAMPLE_LINE}"
    ]


EXAMPLE = """
    SELECT 1
    UNION
    SELECT 2
"""
EXAMPLE_LINE = next(
    number
    for number, line in enumerate(Path(__file__).read_text().splitlines(), 1)
    if line.startswith("EXAMPLE =")
)
