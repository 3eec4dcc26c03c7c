-- Engine postgres: blocks of a day or a week get tables of their own. What is joined there leaves empty
-- pages behind in {target}.block and nothing else, so vacuum gives their room back; and who looks
-- for blocks of six hours finds no others.

CREATE TABLE internal.long_block (LIKE internal.block INCLUDING COMMENTS,
    PRIMARY KEY (series_id, first_time)) PARTITION BY RANGE (first_time);
CREATE TABLE cumsum.long_block (LIKE internal.block INCLUDING COMMENTS,
    PRIMARY KEY (series_id, first_time)) PARTITION BY RANGE (first_time);
CREATE TABLE geo.long_block (LIKE internal.block INCLUDING COMMENTS,
    PRIMARY KEY (series_id, first_time)) PARTITION BY RANGE (first_time);

-- Those that there are move. Nobody reads or joins meanwhile.
DO $move$
DECLARE
    v_target text;
    v_each   record;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum', 'geo'] LOOP
        EXECUTE format('LOCK TABLE %I.block IN ACCESS EXCLUSIVE MODE', v_target);
        FOR v_each IN EXECUTE format(
            'SELECT DISTINCT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
             FROM %1$I.block AS b JOIN pg_class AS c ON c.oid = b.tableoid
             WHERE date_bin(''6 hours'', b.last_time, ''2000-01-03 00:00+00'') > b.first_time', v_target)
        LOOP
            EXECUTE format(
                'CREATE TABLE %1$I.%2$I PARTITION OF %1$I.long_block %3$s;
                 WITH gone AS (
                     DELETE FROM %1$I.%4$I
                     WHERE date_bin(''6 hours'', last_time, ''2000-01-03 00:00+00'') > first_time
                     RETURNING *
                 )
                 INSERT INTO %1$I.%2$I SELECT * FROM gone',
                v_target, 'long_' || v_each.name, v_each.bounds, v_each.name);
        END LOOP;
        EXECUTE format('DROP INDEX %s', (
            SELECT indexrelid::regclass FROM pg_index
            WHERE indrelid = format('%I.block', v_target)::regclass AND indpred IS NOT NULL));
    END LOOP;
END
$move$;

COMMENT ON TABLE internal.block IS
    'Samples of one series in six hours in one row; internal.sample is all of them';
COMMENT ON TABLE internal.long_block IS
    'Samples of a series that has few, of a day or a week, in one row';
COMMENT ON TABLE cumsum.long_block IS 'As internal.long_block, of target cumsum';
COMMENT ON TABLE geo.long_block IS 'As internal.long_block, of target geo';
