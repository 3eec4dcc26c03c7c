"""PostgreSQL below the data directory, from the binaries of a wheel; nothing else to install.

::

    DATA_DIR/                   as root 0711 and root's; the lock of `promgres up`, the spool
    └── postgres/               `layout`
        ├── data/               the cluster (PGDATA), 0700, of the account that runs the server
        ├── socket/             0700, of the same account: trust for whoever gets in
        ├── log/                a file for each day of the week
        ├── programs/           a copy of the binaries, if that account cannot reach the wheel's
        ├── pg_hba.conf         written at every start
        └── startup.log         what the server says before its log is open

`server` puts it together: who runs it (`account`), with which binaries (`programs`), what was left
behind by a parent that died (`orphans`).
"""

from ingest.storage.embedded.datadir import prepare_data_dir
from ingest.storage.embedded.programs import find_psql
from ingest.storage.embedded.running import running_url
from ingest.storage.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "find_psql", "prepare_data_dir", "running_url"]
