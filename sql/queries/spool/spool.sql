-- The spool: requests accepted while the database was away, in one SQLite file of the data directory.

CREATE TABLE IF NOT EXISTS entry (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,  -- also the order in which they are written back
    received_ms INTEGER NOT NULL,  -- decides which timestamps are taken, at the replay too
    tenant_id   INTEGER NOT NULL,
    protocol    INTEGER NOT NULL,  -- major version of remote write; 3: measures and events
    samples     INTEGER NOT NULL,  -- samples that nobody had accounted for when it was spooled
    settled     INTEGER NOT NULL,  -- samples of it that were accounted for before it was spooled
    payload     BLOB NOT NULL,     -- the decompressed message as a snappy block
    checksum    INTEGER            -- of all but id; null in those of before there were any
) STRICT;

CREATE TABLE IF NOT EXISTS rejected (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    rejected_ms INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    tenant_id   INTEGER NOT NULL,
    samples     INTEGER NOT NULL,
    reason      TEXT NOT NULL
) STRICT;

-- Requests that the database failed at again and again while it took others: whole, as they were.
CREATE TABLE IF NOT EXISTS aside (
    id          INTEGER PRIMARY KEY,  -- its own: those of entries begin anew in a new file
    aside_ms    INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    tenant_id   INTEGER NOT NULL,
    protocol    INTEGER NOT NULL,
    samples     INTEGER NOT NULL,
    settled     INTEGER NOT NULL,
    payload     BLOB NOT NULL
) STRICT;

-- One row, written again to see whether the disk takes it.
CREATE TABLE IF NOT EXISTS probe (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    at_ms  INTEGER NOT NULL,
    filler BLOB NOT NULL
) STRICT;
