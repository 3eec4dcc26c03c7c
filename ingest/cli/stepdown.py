"""How `promgres ingest` and `promgres api` stop being root before they listen to anybody."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Literal

from ingest.config import Settings
from ingest.config.addresses import split_address
from ingest.errors import NotAcceptable
from ingest.export.formats import load_parquet
from ingest.lifeline import ENVIRONMENT as LIFELINE
from ingest.logs import get_logger
from ingest.migrate.known import schema_digest
from ingest.sqlfiles import read_ahead
from ingest.storage.embedded import (
    Account,
    Layout,
    hand_over_spool,
    prepare_data_dir,
    users_of,
)
from ingest.storage.engines import ENGINES
from ingest.users import SOCKET_GROUP, become, forbid_new_privileges, load_ahead, not_separated

log = get_logger("users")

WORDS = {"ingest": "the write side", "api": "the read side"}


def step_down(settings: Settings, side: Literal["ingest", "api"], address: str) -> Settings:
    """As root, become the user of this side, for good. What that user cannot reach is taken along:
    modules and SQL are loaded, the spool is handed over, a low port may still be bound, and the
    embedded database's socket be passed to. As anybody else nothing but the way up is closed.

    Args:
        address: `HOST:PORT` where the side will listen.

    Returns:
        The settings without secrets that are not this side's.

    Raises:
        OperatorError: there is no such user, or it cannot get to the spool.
    """
    layout = Layout(settings.data_dir.expanduser().resolve())
    users = users_of(settings.users, layout.cluster)
    if side in users:
        if (reason := not_separated(users, side)) and LIFELINE not in os.environ:
            log.warning("not separated", reason=reason)  # as a child, `up` has said it
        load_ahead()
        if side == "api":
            with suppress(NotAcceptable):  # without the extra
                load_parquet()
        read_ahead()
        for engine in ENGINES:
            schema_digest(engine)
        if side == "ingest" and settings.spool.max_bytes:
            user = users[side]
            folder = hand_over_spool(prepare_data_dir(settings.data_dir), user.uid, user.gid)
            Account(user.uid, user.gid).require_way_to(folder, WORDS[side])
        group = SOCKET_GROUP if layout.socket_dir.exists() else None
        become(users[side], group, split_address(address)[1])
    else:
        forbid_new_privileges()
    return _own(settings, side)


def _own(settings: Settings, side: str) -> Settings:
    """The settings without what only the other side, or `up`, needs: a file has them all."""
    database = {"password": None, "reader_password": None}
    foreign = {
        "api_password": None,
        "database_url": None,
        "database": settings.database.model_copy(update=database),
    }
    if side == "ingest":
        foreign |= {"api_database_url": None, "jwt_secret": None}
    return settings.model_copy(update=foreign)
