"""`sql/` applied to a database."""

from ingest.migrate.old_stack import OldStack
from ingest.migrate.runner import MigrationReport, MigrationStatus, migrate, status

__all__ = ["MigrationReport", "MigrationStatus", "OldStack", "migrate", "status"]
