-- Measures and events as they were pushed: rows, pages of JSON, and measures by bucket.

-- What attributes have to contain: a JSON object that came within a JSON string, as clients send it
-- whose arguments are texts, is that object, as it is in a query string.
CREATE OR REPLACE FUNCTION internal.asked_attributes(p_attributes jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
        WHEN jsonb_typeof(p_attributes) = 'string' AND p_attributes #>> '{}' ~ '^\s*\{'
            THEN (p_attributes #>> '{}')::jsonb
        ELSE p_attributes
    END
$$;

COMMENT ON FUNCTION internal.asked_attributes(jsonb) IS
'The object that attributes have to contain, also if it came as a JSON string.';

-- Rows of the current tenant, newest first; NULL: no filter. p_before_* are the time and the id of
-- the last row of the page before: equal times are in order of the id, so that pages neither skip nor
-- repeat a row. `value` is NULL for events.
--
-- Planned with the values at hand: what does not filter costs nothing, and only partitions or chunks
-- of the period are looked at (a comparison of rows alone would rule none of them out). The newest
-- day comes first and by itself, since planning a year of partitions takes 20 ms.
CREATE OR REPLACE FUNCTION internal.pushed_rows(
    p_kind text, p_name text, p_from timestamptz, p_to timestamptz, p_attributes jsonb,
    p_limit int, p_before_time timestamptz, p_before_id uuid
) RETURNS TABLE (
    "time" timestamptz, name text, value numeric, attributes jsonb, item_id uuid
)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_day   timestamptz := least(p_to, p_before_time, now()) - interval '24 hours';
    v_part  record;
    v_left  int := p_limit;
    v_found int;
BEGIN
    IF p_kind NOT IN ('measure', 'event') THEN
        RAISE EXCEPTION 'measure or event, not "%"', p_kind
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    p_attributes := internal.asked_attributes(p_attributes);
    FOR v_part IN VALUES (v_day, p_to), (p_from, v_day) LOOP
        RETURN QUERY EXECUTE format(
            'SELECT x.time, x.name, %s, x.attributes, x.item_id
             FROM app.%I AS x
             WHERE x.tenant_id = $1 AND ($2 IS NULL OR x.name = $2)
               AND ($3 IS NULL OR x.time >= $3) AND ($4 IS NULL OR x.time < $4)
               AND ($5 IS NULL OR x.attributes @> $5)
               AND ($6 IS NULL OR (x.time <= $6 AND (x.time, x.item_id) < ($6, $7)))
             ORDER BY x.time DESC, x.item_id DESC
             LIMIT $8',
            CASE p_kind
                WHEN 'measure' THEN 'coalesce(x.exact, x.value::text::numeric)'
                ELSE 'NULL::numeric'
            END,
            p_kind
        ) USING internal.current_tenant_id(), p_name, greatest(v_part.column1, p_from),
                v_part.column2, p_attributes, p_before_time, p_before_id, v_left;
        GET DIAGNOSTICS v_found = ROW_COUNT;
        v_left := v_left - v_found;
        EXIT WHEN v_left = 0 OR p_from >= v_day;
    END LOOP;
END
$$;

-- 2026-01-31T23:59:59.000000Z (RFC 3339), always with microseconds: older parsers want them.
CREATE OR REPLACE FUNCTION internal.utc_text(p_time timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT to_char(p_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- One item as JSON; a measure has a value. Numbers keep every digit.
CREATE OR REPLACE FUNCTION internal.pushed_json(
    p_shape text, p_time timestamptz, p_name text, p_value numeric, p_attributes jsonb
) RETURNS text
LANGUAGE sql STABLE
AS $$
    SELECT CASE p_shape
        WHEN 'older' THEN concat(
            '{"d":{"name":', to_json(p_name), ',"measurement":' || to_json(trim_scale(p_value)),
            ',"dict":', p_attributes, '},"insertion_time":"', internal.utc_text(p_time), '"}')
        ELSE concat(
            '{"time":"', internal.utc_text(p_time), '","name":', to_json(p_name),
            ',"value":' || to_json(trim_scale(p_value)), ',"attributes":', p_attributes, '}')
    END
$$;

-- A page ends with p_limit rows, or with the row that makes it 16 MiB: attributes may be large, and a
-- page is in memory as a whole, here and in the process that hands it on.
CREATE OR REPLACE FUNCTION internal.pushed_page(
    p_kind text, p_shape text, p_name text, p_from timestamptz, p_to timestamptz,
    p_attributes jsonb, p_limit int, p_before_time timestamptz, p_before_id uuid,
    OUT body text, OUT next_time timestamptz, OUT next_id uuid
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
DECLARE
    v_row   record;
    v_last  record;
    v_items text[] := '{}';
    v_bytes int := 0;
BEGIN
    IF p_shape NOT IN ('older', 'flat') THEN
        RAISE EXCEPTION 'shape older or flat, not "%"', p_shape
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- One row more than asked for tells whether there is another page.
    FOR v_row IN
        SELECT r.time, r.item_id,
            internal.pushed_json(p_shape, r.time, r.name, r.value, r.attributes) AS item
        FROM internal.pushed_rows(
            p_kind, p_name, p_from, p_to, p_attributes, p_limit + 1, p_before_time, p_before_id
        ) AS r
    LOOP
        IF cardinality(v_items) = p_limit OR v_bytes >= 16 * 1024 * 1024 THEN
            next_time := v_last.time;
            next_id := v_last.item_id;
            EXIT;
        END IF;
        v_items := array_append(v_items, v_row.item);
        v_bytes := v_bytes + octet_length(v_row.item);
        v_last := v_row;
    END LOOP;
    body := concat('[', array_to_string(v_items, ','), ']');
END
$$;
COMMENT ON FUNCTION internal.pushed_page IS
    'A page of the current tenant''s measures or events, newest first, as a JSON array; next_* are the p_before_* of the next page, null after the last';

-- Measures of the current tenant by bucket and name, newest bucket first; NULL: no filter.
-- Infinities enter neither sum nor avg; `last` is of the newest time, then the largest item_id.
--
-- Reads backwards, period by period, until there are p_limit rows: the newest buckets of a long
-- history cost no more than those of a short one.
CREATE OR REPLACE FUNCTION internal.bucketed_measures(
    p_name text, p_from timestamptz, p_to timestamptz, p_attributes jsonb, p_interval interval,
    p_limit int
) RETURNS TABLE (
    bucket timestamptz, name text, count bigint, sum numeric, min numeric, max numeric,
    avg numeric, last numeric
)
LANGUAGE plpgsql STABLE
SET timezone = 'UTC'
AS $$
DECLARE
    v_edges   record;
    v_lo      timestamptz;
    v_hi      timestamptz;
    v_left    int := p_limit;
    v_found   int;
    v_buckets int := least(p_limit, 1000);
BEGIN
    IF p_interval IS NULL THEN
        RETURN;
    END IF;
    PERFORM internal.check_interval(p_interval);
    p_attributes := internal.asked_attributes(p_attributes);
    SELECT * INTO v_edges FROM internal.measure_edges(p_name, p_from, p_to);
    v_hi := v_edges.newest + interval '1 microsecond';
    WHILE v_hi > v_edges.oldest AND v_left IS DISTINCT FROM 0 LOOP
        v_lo := CASE
            WHEN p_interval < (v_hi - v_edges.oldest) / v_buckets THEN
                internal.bucket_start(p_interval, v_hi - p_interval * v_buckets)
            ELSE v_edges.oldest
        END;
        RETURN QUERY EXECUTE
            'SELECT m.bucket, m.name, count(*), sum(m.value) FILTER (WHERE m.is_finite),
                    min(m.value), max(m.value), avg(m.value) FILTER (WHERE m.is_finite),
                    max(m.value) FILTER (WHERE m.place = 1)
             FROM (
                 SELECT internal.bucket_start($1, x.time) AS bucket, x.name,
                        coalesce(x.exact, x.value::text::numeric) AS value,
                        abs(x.value) < ''Infinity'' OR x.exact IS NOT NULL AS is_finite,
                        row_number() OVER (
                            PARTITION BY internal.bucket_start($1, x.time), x.name
                            ORDER BY x.time DESC, x.item_id DESC
                        ) AS place
                 FROM app.measure AS x
                 WHERE x.tenant_id = $2 AND ($3 IS NULL OR x.name = $3)
                   AND x.time >= $4 AND x.time < $5
                   AND ($6 IS NULL OR x.attributes @> $6) AND x.value <> ''NaN''
             ) AS m
             GROUP BY 1, 2
             ORDER BY 1 DESC, 2
             LIMIT $7'
            USING p_interval, internal.current_tenant_id(), p_name, greatest(v_lo, p_from), v_hi,
                  p_attributes, v_left;
        GET DIAGNOSTICS v_found = ROW_COUNT;
        v_left := v_left - v_found;
        v_hi := v_lo;
        v_buckets := least(v_buckets * 4, 1000000);
    END LOOP;
END
$$;

-- Oldest and newest time of such measures of the current tenant; no row where there are none.
CREATE OR REPLACE FUNCTION internal.measure_edges(
    p_name text, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (oldest timestamptz, newest timestamptz)
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN QUERY EXECUTE
        'SELECT min(x.time), max(x.time)
         FROM app.measure AS x
         WHERE x.tenant_id = $1 AND ($2 IS NULL OR x.name = $2)
           AND ($3 IS NULL OR x.time >= $3) AND ($4 IS NULL OR x.time < $4)'
        USING internal.current_tenant_id(), p_name, p_from, p_to;
END
$$;

CREATE OR REPLACE FUNCTION internal.measure_buckets(
    p_name text, p_from timestamptz, p_to timestamptz, p_attributes jsonb, p_bucket interval,
    p_limit int
) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET extra_float_digits = 1
SET jit = off
AS $$
    SELECT concat('[', string_agg(
        concat(
            '{"bucket":"', internal.utc_text(b.bucket), '","name":', to_json(b.name),
            ',"count":', b.count,
            ',"sum":', coalesce(to_json(trim_scale(b.sum)), 'null'),
            ',"min":', to_json(trim_scale(b.min)), ',"max":', to_json(trim_scale(b.max)),
            ',"avg":', coalesce(to_json(trim_scale(b.avg)), 'null'),
            ',"last":', to_json(trim_scale(b.last)), '}'),
        ',' ORDER BY b.place), ']')
    FROM internal.bucketed_measures(p_name, p_from, p_to, p_attributes, p_bucket, p_limit)
        WITH ORDINALITY AS b (bucket, name, count, sum, min, max, avg, last, place)
$$;
COMMENT ON FUNCTION internal.measure_buckets IS
    'The current tenant''s measures by bucket of time and name, newest first, as a JSON array';
