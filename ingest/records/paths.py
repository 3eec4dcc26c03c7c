"""The names of measures and events over HTTP."""

from __future__ import annotations

from ingest.model import RecordKind

RECORD_PATHS: dict[str, RecordKind] = {
    "/api/v1/measure": "measure",
    "/api/v1/event": "event",
    "/api/v1/measure.json": "measure",
    "/api/v1/event.json": "event",
}
"""Every path and what it holds. The legacy API answered with a suffix, too."""
