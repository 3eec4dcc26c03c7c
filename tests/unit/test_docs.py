"""What the documents point at is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MENTION = re.compile(r"\bdocs/[\w/-]+\.md\b")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("client/*.md")],
)


def headings(document: Path) -> set[str]:
    """The anchors of a document, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """Files and anchors that a document links to, within the project."""
    for link in LINK.findall(document.read_text()):
        if "://" not in link and not link.startswith("mailto:"):
            path, _, anchor = link.partition("#")
            yield (document.parent / path).resolve() if path else document, anchor


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(document: Path) -> None:
    for target, anchor in links(document):
        assert target.exists(), target
        if anchor:
            assert anchor in headings(target), f"{target.name}#{anchor}"


def test_documents_that_code_and_files_name() -> None:
    named = {
        mention
        for folder in ("ingest", "client", "sql", "deploy", "tests", ".github")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".sql", ".yml", ".yaml", ".toml", ".service", ".md"}
        and "node_modules" not in path.parts
        for mention in MENTION.findall(path.read_text())
    }
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_index_leads_to_every_document() -> None:
    index = ROOT / "docs/README.md"
    reached = {target for target, _ in links(index)} | {index}
    assert set(ROOT.glob("docs/**/*.md")) - reached == set()


def test_the_map_names_every_file_once() -> None:
    text = (ROOT / "docs/explanation/architecture.md").read_text()
    named = re.findall(r"^- `([\w/]+\.py)`: ", text, flags=re.MULTILINE)
    files = [
        str(path.relative_to(ROOT / "ingest"))
        for path in (ROOT / "ingest").rglob("*.py")
        if path.name != "__init__.py" and "pb" not in path.parts
    ]
    assert sorted(named) == sorted(files)
