"""PostgreSQL below the data directory, from the binaries of a wheel; nothing else to install.

::

    DATA_DIR/                   as root 0711 and root's; the lock of `promgres up`, the spool
    └── postgres/               `layout`
        ├── data/               the cluster (PGDATA), 0700, of the account that runs the server
        ├── socket/             0700, of the same account; as root 0710, for the group of our
        │                       processes: the kernel says who asks (peer)
        ├── log/                a file for each day of the week
        ├── programs/           a copy of the binaries, if that account cannot reach the wheel's
        ├── pg_hba.conf         written at every start, as pg_ident.conf is
        └── startup.log         what the server says before its log is open

`server` puts it together: who runs it (`account`), with which binaries (`programs`), what was left
behind by a parent that died (`orphans`), what readers get of the processors (`niceness`). As root,
the write side gets its folder from `datadir`, and both sides their users from `account`.
"""

from ingest.storage.embedded.account import Account, users_of
from ingest.storage.embedded.datadir import hand_over_spool, prepare_data_dir
from ingest.storage.embedded.layout import Layout
from ingest.storage.embedded.programs import find_psql
from ingest.storage.embedded.running import running_url
from ingest.storage.embedded.server import EmbeddedPostgres

__all__ = [
    "Account",
    "EmbeddedPostgres",
    "Layout",
    "find_psql",
    "hand_over_spool",
    "prepare_data_dir",
    "running_url",
    "users_of",
]
