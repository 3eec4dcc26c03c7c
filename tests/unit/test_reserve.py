"""The reserve on the disk: there while there is room, given up when it fills."""

from __future__ import annotations

from pathlib import Path

from ingest.reserve import FILE, Reserve
from tests.support.small_disk import small_disk

MIB = 1024 * 1024


def test_it_is_given_up_when_the_disk_fills_and_made_again() -> None:
    with small_disk(20) as disk:
        reserve = Reserve(disk.path, 4 * MIB)
        reserve.look()
        assert reserve.held_bytes == 4 * MIB
        reserve.look()
        assert reserve.held_bytes == 4 * MIB
        disk.fill()
        reserve.look()
        assert reserve.held_bytes == 0
        (disk.path / "recovered").write_bytes(bytes(3 * MIB))
        reserve.look()
        assert reserve.held_bytes == 0
        disk.make_room()
        reserve.look()
        assert reserve.held_bytes == 4 * MIB


def test_it_takes_no_disk_that_is_small() -> None:
    with small_disk(12) as disk:
        Reserve(disk.path, 4 * MIB).look()
        assert not (disk.path / FILE).exists()


def test_it_goes_when_it_is_switched_off(tmp_path: Path) -> None:
    Reserve(tmp_path, 4096).look()
    assert (tmp_path / FILE).stat().st_size == 4096
    Reserve(tmp_path, 0).look()
    assert not (tmp_path / FILE).exists()
