-- A piece of core/staging/move.sql: the other samples. They come after open_rows: what was open then
-- cannot have been closed since, if a row of it has just gone there, for that takes a lock on its
-- partition; and what had no row there is late by now.

    IF EXISTS (
        SELECT FROM new_rows
        WHERE time < (SELECT k.closed_before FROM internal.packed AS k WHERE k.target = '@target@')
    ) THEN
        v_new := v_new + (
            SELECT @target@.store_late(
                array_agg(time), array_agg(series_id), array_agg(value), array_agg(exact))
            FROM new_rows
            WHERE time < (
                SELECT k.closed_before FROM internal.packed AS k WHERE k.target = '@target@')
        );
    END IF;
