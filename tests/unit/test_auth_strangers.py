"""What is said at start where strangers can come in without a key."""

from __future__ import annotations

import pytest

from ingest.config import AuthSettings, Settings
from ingest.daemon import daemon as write_side
from ingest.ports import read_server as read_side


@pytest.mark.parametrize(
    ("host", "required", "warns"),
    [("0.0.0.0", False, True), ("0.0.0.0", True, False), ("127.0.0.1", False, False)],
)
def test_both_sides_warn(
    monkeypatch: pytest.MonkeyPatch, host: str, required: bool, warns: bool
) -> None:
    said: list[str] = []
    for module in (write_side, read_side):
        monkeypatch.setattr(module.log, "warning", lambda text, **_: said.append(text))
    settings = Settings(
        listen=f"{host}:1", api_listen=f"{host}:2", auth=AuthSettings(required=required)
    )
    write_side.Daemon(settings, "")._warn_of_strangers()
    read_side._warn_of_strangers(settings, settings.api_listen)
    assert ["without a key" in text for text in said] == [True, True] * warns
