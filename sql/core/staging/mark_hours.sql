-- A piece of core/staging/move.sql: samples of days whose hours may have been made by now.

    IF v_new > 0 AND EXISTS (
        SELECT FROM new_rows
        WHERE time < (SELECT h.marked_before FROM internal.hours_state AS h WHERE h.target = '@target@')
    ) THEN
        INSERT INTO internal.hours_mark (target, series_id, day)
        SELECT '@target@', n.series_id, n.day
        FROM (
            SELECT DISTINCT series_id, date_bin('24 hours', time, @origin@) AS day
            FROM new_rows
            WHERE time < (
                SELECT h.marked_before FROM internal.hours_state AS h WHERE h.target = '@target@')
        ) AS n
        WHERE NOT EXISTS (
            SELECT FROM internal.hours_todo AS o
            WHERE (o.series_id, o.day) = (n.series_id, n.day) AND NOT o.is_announced);
    END IF;
