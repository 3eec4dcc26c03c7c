"""`sql/` applied to a database."""

from ingest.migrate.runner import MigrationReport, MigrationStatus, migrate, status

__all__ = ["MigrationReport", "MigrationStatus", "migrate", "status"]
