"""The parts of the embedded server that need no server."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from ingest.errors import OperatorError
from ingest.storage.embedded import programs
from ingest.storage.embedded.datadir import prepare_data_dir
from ingest.storage.embedded.layout import (
    MOST_SOCKET_PATH_BYTES,
    Layout,
    addressable_socket_dir,
    socket_file,
)
from ingest.storage.embedded.processes import (
    command_of,
    pid_behind,
    processes,
    socket_answers,
    works_in,
)
from tests.support.processes import wait_until


def test_a_missing_data_directory_is_made_and_closed_to_lookers(tmp_path: Path) -> None:
    made = prepare_data_dir(tmp_path / "new" / "data")
    expected = 0o711 if os.geteuid() == 0 else 0o700
    assert stat.S_IMODE(made.stat().st_mode) == expected


def test_no_mode_above_the_data_directory_is_changed(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    parent.mkdir(mode=0o750)
    (parent / "data").mkdir(mode=0o755)
    prepare_data_dir(parent / "data")
    assert stat.S_IMODE(parent.stat().st_mode) == 0o750


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(OperatorError, match="--data-dir"):
        prepare_data_dir(tmp_path / "data")


def test_a_short_socket_path_is_used_as_it_is() -> None:
    layout = Layout(Path("/var/lib/promgres"))
    assert addressable_socket_dir(layout, 5432) == layout.socket_dir


@pytest.mark.parametrize("name", ["long" * 30, "a,b"])
def test_a_path_that_is_no_socket_address_gets_a_name_that_is(tmp_path: Path, name: str) -> None:
    layout = Layout(tmp_path / name)
    layout.socket_dir.mkdir(parents=True)
    alias = addressable_socket_dir(layout, 5432)
    try:
        assert alias.resolve() == layout.socket_dir
        assert len(os.fsencode(socket_file(alias, 5432))) <= MOST_SOCKET_PATH_BYTES
        assert addressable_socket_dir(layout, 5432) == alias, "found again"
    finally:
        alias.unlink()


def test_the_kernel_says_who_listens_at_a_socket(tmp_path: Path) -> None:
    path = Path(os.path.relpath(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert pid_behind(path) is None, "bound, but nobody listens"
        server.listen()
        assert pid_behind(path) == os.getpid()
        assert socket_answers(path)
    assert not socket_answers(path)
    assert pid_behind(tmp_path / "missing") is None


def test_processes_are_seen_with_their_command_lines(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["/bin/sleep", "600"], cwd=tmp_path)
    try:
        wait_until(  # it has begun before its command line can be read
            lambda: "/bin/sleep 600" in [each.command for each in processes()],
            20,
            what="it is seen",
        )
        assert command_of(sleeper.pid) == "/bin/sleep 600"
        if Path("/proc/self").exists():
            assert works_in(sleeper.pid, tmp_path)
            assert not works_in(sleeper.pid, tmp_path.parent)
    finally:
        sleeper.kill()
        sleeper.wait()
    assert command_of(sleeper.pid) == ""


def test_without_the_wheel_the_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "PACKAGE", "no_such_package")
    with pytest.raises(OperatorError, match=r"promgres\[embedded\]"):
        programs.choose_programs(Layout(tmp_path))


def test_a_directory_that_is_no_database_is_not_overwritten(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.cluster.mkdir(parents=True)
    (layout.cluster / "letters.txt").write_text("dear")
    with pytest.raises(OperatorError, match="not a database"):
        programs.choose_programs(layout)


def test_a_new_database_gets_the_newest_version(tmp_path: Path) -> None:
    assert programs.choose_programs(Layout(tmp_path)).major >= 18
