"""`ingest/wire/pb` is what protoc makes of `proto/`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.compose import ROOT

PB = ROOT / "ingest" / "wire" / "pb"
GENERATED = ("*_pb2.py", "*_pb2.pyi")


def test_the_messages_are_up_to_date(tmp_path: Path) -> None:
    protos = sorted((ROOT / "proto").glob("*.proto"))
    out = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi")]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}"]
    subprocess.run([*protoc, *out, *protos], check=True)
    assert protos
    assert _texts(PB) == _texts(tmp_path), "make proto"


def _texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for kind in GENERATED for path in folder.glob(kind)}
