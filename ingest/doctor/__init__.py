"""What is wrong with a running Promgres, and what to type about it.

A check is a function that asks (`sql/doctor/*.sql`, `/metrics`, the disk) and answers with
findings; `examination` calls them all. Nothing here changes anything.

| file | looks at |
| --- | --- |
| `server` | PostgreSQL and TimescaleDB, their versions, migrations |
| `access` | logins, roles, grants |
| `durability` | settings without which a crash loses what was acknowledged |
| `tables` | staging, partitions, retention, indexes |
| `rollups`, `jobs` | whether aggregates are stored: by our worker, by the extension's jobs |
| `load` | long transactions, vacuum, connections |
| `machine` | spool, disk, clock |
| `sides` | `/-/ready` and `/metrics` of the two HTTP sides |
"""

from ingest.doctor.case import Site, Thresholds
from ingest.doctor.examination import Examination, examine
from ingest.doctor.finding import Finding, Level, worst
from ingest.doctor.prescription import Prescription

__all__ = [
    "Examination",
    "Finding",
    "Level",
    "Prescription",
    "Site",
    "Thresholds",
    "examine",
    "worst",
]
