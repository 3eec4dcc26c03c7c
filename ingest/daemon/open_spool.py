"""The spool of a daemon, opened from the settings."""

from __future__ import annotations

from ingest.config import Settings
from ingest.intake.quotas import Quotas
from ingest.logs import get_logger
from ingest.storage.embedded import prepare_data_dir
from ingest.writer.ledger import Accounts
from ingest.writer.spool.file import SpoolFile
from ingest.writer.spool.queue import Spool

log = get_logger("spool")


def open_spool(settings: Settings, accounts: Accounts, quotas: Quotas) -> Spool | None:
    """The spool below the data directory; what an earlier process left in it counts as received.

    Raises:
        OperatorError: it cannot be opened, or another process uses it.
    """
    if settings.spool.max_bytes == 0:
        return None
    file = SpoolFile(prepare_data_dir(settings.data_dir))
    for tenant_id, share in file.standing().shares.items():
        accounts.find(tenant_id, share.samples)
        log.info("found spooled samples", tenant=quotas.names(tenant_id), samples=share.samples)
    return Spool(file, settings.spool.max_bytes, quotas)
