"""Where a series goes: compiled rules, and which label carries a metric's exact value."""

from ingest.routing.router import Decision, Router

__all__ = ["Decision", "Router"]
