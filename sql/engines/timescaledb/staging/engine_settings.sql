-- A piece of core/staging/move.sql. Late rows may fall into compressed chunks, any number of them.

SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0
