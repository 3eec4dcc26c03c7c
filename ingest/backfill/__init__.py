"""Recording rules evaluated over the past, and their results written as remote write."""

from ingest.backfill.plan import Plan, Window, plan_of
from ingest.backfill.replay import Outcome, replay
from ingest.backfill.rules import Group, Rule, read_rules

__all__ = ["Group", "Outcome", "Plan", "Rule", "Window", "plan_of", "read_rules", "replay"]
