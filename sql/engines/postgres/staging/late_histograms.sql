-- A piece of core/staging/move.sql: histograms of a time that is packed, or may be from now on, wait for
-- whoever packs (blocks/pack_histograms.sql), who leaves alone what ended within the last hour. The INSERT
-- after it sees what has been packed.

    IF EXISTS (
        SELECT FROM new_rows
        WHERE time < greatest(
            clock_timestamp() - interval '30 minutes',
            (SELECT max(k.packed_before) FROM internal.histogram_packing AS k))
    ) THEN
        -- An older snapshot does not see what was packed since, and would let a duplicate in.
        IF internal.packs()
            AND current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
        THEN
            RAISE EXCEPTION 'late histograms are taken in transactions of READ COMMITTED only'
                USING ERRCODE = 'feature_not_supported';
        END IF;
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('promgres.late_histograms', 0));
    END IF;
