-- Series of which nothing is left are removed, in two transactions, so that no writer waits for the
-- search. The first dooms them: that ends a life, which names them, so no writer remembers them from
-- then on, and what a writer had stored until then is committed. Who asks for one afterwards takes it
-- out of the doomed (internal.reserve_series). The second looks once more, and removes those that are
-- still doomed and still empty.

-- An id at a time, by index: joins of other kinds would read all samples there are.
CREATE OR REPLACE FUNCTION internal.without_rows(p_target text, p_ids bigint[])
RETURNS bigint[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_seqscan = off
SET jit = off
AS $function$
DECLARE
    v_tables text[] := ARRAY[
        format('%I.sample', p_target), 'internal.histogram', 'internal.exemplar',
        format('%I.series_hours', p_target)];
    v_table  text;
    v_left   bigint[] := p_ids;
BEGIN
    FOREACH v_table IN ARRAY v_tables LOOP
        CONTINUE WHEN to_regclass(v_table) IS NULL;
        EXECUTE format(
            'SELECT array_agg(id) FROM unnest($1) AS id WHERE (SELECT true FROM %s AS x'
            ' WHERE x.series_id = id LIMIT 1) IS NULL', v_table)
        INTO v_left USING v_left;
        EXIT WHEN v_left IS NULL;
    END LOOP;
    RETURN coalesce(v_left, '{}');
END
$function$;
COMMENT ON FUNCTION internal.without_rows IS
    'Of these ids of series of a target, those without a sample, a histogram, an exemplar and an hour';

CREATE OR REPLACE FUNCTION internal.doom_series(
    p_after bigint, p_most int, p_age interval, OUT doomed int, OUT last bigint
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    v_seen  int;
    v_each  record;
    v_empty bigint[] := '{}';
    -- Writers of an older version ask nothing before they end. They have time to be replaced.
    v_since timestamptz := (
        SELECT max(applied_at) FROM internal.migration WHERE file LIKE '%/0021_life_of_the_data.sql');
BEGIN
    doomed := 0;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('promgres.removal', 0)) THEN
        RETURN;  -- somebody else is at it
    END IF;
    SELECT max(s.series_id), count(*) INTO last, v_seen
    FROM (
        SELECT series_id FROM internal.series WHERE series_id > p_after
        ORDER BY series_id LIMIT p_most
    ) AS s;
    FOR v_each IN
        SELECT s.target, array_agg(s.series_id) AS ids
        FROM internal.series s
        WHERE s.series_id > p_after AND s.series_id <= last
            AND coalesce(greatest(s.created_at, v_since), '-infinity') < now() - p_age
            AND NOT EXISTS (SELECT FROM internal.doomed_series d WHERE d.series_id = s.series_id)
        GROUP BY s.target
    LOOP
        v_empty := v_empty || internal.without_rows(v_each.target, v_each.ids);
    END LOOP;
    IF v_seen < p_most THEN
        last := NULL;
    END IF;
    doomed := cardinality(v_empty);
    IF doomed = 0 THEN
        RETURN;
    END IF;
    -- Whoever ends a transaction with one of them holds the lock until it is committed; and who comes
    -- while this waits for them waits, too: not for long (lock_timeout).
    PERFORM pg_advisory_xact_lock(internal.life_lock());
    INSERT INTO internal.doomed_series (series_id) SELECT unnest(v_empty) ON CONFLICT DO NOTHING;
    INSERT INTO internal.life (ended_series) VALUES (v_empty);
    -- Who remembers an older life forgets everything; who has not written for so long is gone.
    DELETE FROM internal.life WHERE number < (SELECT max(number) - 1000 FROM internal.life);
    DELETE FROM internal.writer WHERE marked_at < now() - interval '30 days';
END
$function$;
COMMENT ON FUNCTION internal.doom_series IS
    'Looks at the next p_most series after an id that are older than p_age, as the schema has to be, and dooms those of which nothing is left. last is where to go on; null at the end';

CREATE OR REPLACE FUNCTION internal.remove_doomed(p_most int)
RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    -- Who takes one out waits for this to end, or was first.
    v_ids  bigint[] := ARRAY(
        SELECT series_id FROM internal.doomed_series ORDER BY series_id LIMIT p_most
        FOR UPDATE SKIP LOCKED);
    v_each record;
    v_gone bigint[] := '{}';
BEGIN
    -- Not before all are over that may have ended before the series was doomed: what these stored is seen
    -- by now, since who doomed waited for them.
    FOR v_each IN
        SELECT target, array_agg(series_id) AS ids FROM internal.series
        WHERE series_id = ANY (v_ids) GROUP BY target
    LOOP
        v_gone := v_gone || internal.without_rows(v_each.target, v_each.ids);
    END LOOP;
    PERFORM set_config('promgres.removes_doomed', 'yes', true);
    DELETE FROM internal.series_start WHERE series_id = ANY (v_gone);
    DELETE FROM internal.series WHERE series_id = ANY (v_gone);
    PERFORM set_config('promgres.removes_doomed', '', true);
    DELETE FROM internal.doomed_series WHERE series_id = ANY (v_ids);
    RETURN cardinality(v_gone);
END
$function$;
COMMENT ON FUNCTION internal.remove_doomed IS
    'Removes as many doomed series at most, with their starts; those that have something by now are doomed no longer';

-- A metric stays as long as a series is of it, or a rollup; what senders said of it goes with the last
-- one of its name, of whatever target and schema.
CREATE OR REPLACE FUNCTION internal.remove_metrics(p_most int)
RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
SET enable_seqscan = off
SET jit = off
AS $function$
DECLARE
    v_suffix constant text := '_(total|count|sum|bucket|created|info)$';
    v_ids   int[];
    v_table regclass;
    v_gone  internal.metric[];
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('promgres.removal', 0)) THEN
        RETURN 0;
    END IF;
    v_ids := ARRAY(
        SELECT m.metric_id FROM internal.metric m
        WHERE NOT EXISTS (SELECT FROM internal.series s WHERE s.metric_id = m.metric_id));
    FOR v_table IN  -- of whatever engine: stored rollups, materialised hypertables
        SELECT c.oid
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE a.attname = 'metric_id' AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
            AND c.relnamespace::regnamespace::text IN ('internal', 'cumsum', 'geo', '_timescaledb_internal')
            AND c.oid NOT IN ('internal.metric'::regclass, 'internal.series'::regclass)
            AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
    LOOP
        EXIT WHEN cardinality(v_ids) = 0;
        EXECUTE format(
            'SELECT coalesce(array_agg(id), ''{}'') FROM unnest($1) AS id WHERE (SELECT true FROM %s'
            ' AS x WHERE x.metric_id = id LIMIT 1) IS NULL', v_table)
        INTO v_ids USING v_ids;
    END LOOP;
    IF cardinality(v_ids) = 0 THEN
        RETURN 0;
    END IF;
    v_ids := v_ids[:p_most];
    -- Who creates a series of one is over, and seen, or ends in a life in which it is gone.
    PERFORM pg_advisory_xact_lock(internal.life_lock());
    WITH gone AS (
        DELETE FROM internal.metric m
        WHERE m.metric_id = ANY (v_ids)
            AND NOT EXISTS (SELECT FROM internal.series s WHERE s.metric_id = m.metric_id)
        RETURNING m
    )
    SELECT array_agg(m) INTO v_gone FROM gone;
    -- A family of metrics is described once: by the name without what its series add.
    DELETE FROM internal.metadata d
    USING unnest(v_gone) AS g
    WHERE d.tenant_id = g.tenant_id
        AND regexp_replace(lower(d.name COLLATE "C"), v_suffix, '') = regexp_replace(g.name, v_suffix, '')
        AND NOT EXISTS (
            SELECT FROM internal.metric m
            WHERE m.tenant_id = d.tenant_id
                AND regexp_replace(m.name, v_suffix, '')
                    = regexp_replace(lower(d.name COLLATE "C"), v_suffix, ''));
    INSERT INTO internal.life (ended_series) VALUES ('{}');
    RETURN coalesce(cardinality(v_gone), 0);
END
$function$;
COMMENT ON FUNCTION internal.remove_metrics IS
    'Removes as many metrics at most that have neither a series nor a rollup, and what senders said of names that are gone';
