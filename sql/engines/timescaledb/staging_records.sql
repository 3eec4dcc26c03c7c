-- Late measures and events may fall into compressed chunks, any number of them.
ALTER FUNCTION staging_app.move_measures()
    SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0;
ALTER FUNCTION staging_app.move_events()
    SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0;
