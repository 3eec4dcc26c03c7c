-- Hours of series: what is made of samples once their day is over, and how a late sample undoes it.
--
--   store a sample of before marked_before ──► a mark, in the same transaction
--   a day is over ──► marked_before moves ──► once all transactions know of it: hours are made
--   a mark ──► the row goes, hours_todo has the day ──► announced, known to all, made again
--
-- A reader takes a row that has no mark, and reads samples where there is no row. So it sees hours and
-- samples of one moment, whatever its isolation level: who sees a late sample sees its mark. That each
-- writer marks is what is waited for, with no lock: transactions that began before the announcement.

CREATE OR REPLACE FUNCTION internal.hours_from(p_target text)
RETURNS timestamptz
LANGUAGE sql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE s.value
        WHEN '0' THEN '-infinity'
        ELSE coalesce(
            date_bin('24 hours', now() - make_interval(days => nullif(s.value, '')::int),
                internal.bucket_origin()),
            t.dropped_before)
        END
    FROM internal.target AS t
    LEFT JOIN internal.setting AS s ON s.key = 'retention.series_hours_days'
    WHERE t.target = p_target
$function$;
COMMENT ON FUNCTION internal.hours_from IS
    'Hours of series before this are past their retention: as raw samples, unless retention.series_hours_days says otherwise';

CREATE OR REPLACE FUNCTION internal.needs_samples_before(p_target text, p_before timestamptz)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(internal.hours_from(p_target) < least(p_before, now() - interval '24 hours')
        AND EXISTS (
            SELECT FROM internal.setting
            WHERE key = 'retention.series_hours_days' AND value <> '')
        AND (
            EXISTS (SELECT FROM internal.hours_state
                WHERE target = p_target AND made_before < p_before)
            OR EXISTS (SELECT FROM internal.hours_mark WHERE target = p_target AND day < p_before)
            OR EXISTS (SELECT FROM internal.hours_todo WHERE target = p_target AND day < p_before)
        ), false)
$function$;
COMMENT ON FUNCTION internal.needs_samples_before IS
    'Whether raw samples of before p_before are still needed for hours of series that outlive them';

CREATE OR REPLACE FUNCTION internal.reads_hours(p_target text, p_from timestamptz, p_to timestamptz)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT p_to - p_from >= interval '6 hours' AND EXISTS (
        SELECT FROM internal.hours_state
        WHERE target = p_target
            -- (PostgreSQL 15 and 16 subtract nothing from -infinity.)
            AND least(made_before, p_to) >= p_from + (p_to - p_from) / 2)
$function$;
COMMENT ON FUNCTION internal.reads_hours IS
    'Whether hours of series may spare samples of a period: short ones are read as they are, and those of which less than half is made';

CREATE OR REPLACE FUNCTION internal.mark_hours(
    p_target text, p_times timestamptz[], p_series bigint[]
)
RETURNS void
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    INSERT INTO internal.hours_mark (target, series_id, day)
    SELECT p_target, n.series_id, n.day
    FROM (
        SELECT DISTINCT series_id, date_bin('24 hours', t, internal.bucket_origin()) AS day
        FROM unnest(p_times) AS t, unnest(p_series) AS series_id
        WHERE t < (SELECT h.marked_before FROM internal.hours_state AS h WHERE h.target = p_target)
    ) AS n
    WHERE NOT EXISTS (
        SELECT FROM internal.hours_todo AS o
        WHERE (o.series_id, o.day) = (n.series_id, n.day) AND NOT o.is_announced)
$function$;
COMMENT ON FUNCTION internal.mark_hours IS
    'Marks the days of these times, of samples written in this transaction, for each of p_series; only where hours may have been made';

CREATE OR REPLACE FUNCTION internal.day_of_hours(p_before timestamptz)
RETURNS int
LANGUAGE sql IMMUTABLE
AS $$ SELECT CASE WHEN isfinite(p_before) THEN (extract(epoch FROM p_before) / 86400)::int ELSE 0 END $$;
COMMENT ON FUNCTION internal.day_of_hours IS
    'hours_state.marked_before as days since 1970; 0 if there are no hours yet';

CREATE OR REPLACE PROCEDURE internal.mark_days(
    p_target text, p_from_day int, p_series bigint[], p_days int[]
)
LANGUAGE plpgsql
AS $procedure$
BEGIN
    -- Whoever says so knew an older marked_before. It moves once a day, and staging looks at each row.
    IF EXISTS (
        SELECT FROM internal.hours_state AS h
        WHERE h.target = p_target AND h.marked_before > to_timestamp(p_from_day * 86400.0)
    ) THEN
        RAISE EXCEPTION 'more days of samples have hours by now' USING ERRCODE = 'serialization_failure';
    END IF;
    -- Nearly always all are of one day, and wait to be made again already: that is one look in key order,
    -- for a tenth of what it is to look up each. (Series are a parameter to its plan, see late.sql.)
    IF p_series <> '{}' AND (p_days[1] <> ANY (p_days) OR cardinality(p_series) > (
        SELECT count(*) FROM internal.hours_todo AS o
        WHERE o.series_id = ANY ((SELECT p_series)::bigint[])
            AND o.day = to_timestamp(p_days[1] * 86400.0) AND NOT o.is_announced))
    THEN
        INSERT INTO internal.hours_mark (target, series_id, day)
        SELECT p_target, n.series_id, to_timestamp(n.day * 86400.0)
        FROM unnest(p_series, p_days) AS n (series_id, day)
        WHERE NOT EXISTS (
            SELECT FROM internal.hours_todo AS o
            WHERE (o.series_id, o.day) = (n.series_id, to_timestamp(n.day * 86400.0))
                AND NOT o.is_announced);
    END IF;
END
$procedure$;
COMMENT ON PROCEDURE internal.mark_days IS
    'Marks days (since 1970) of series, parallel arrays, of samples written in this transaction; an error, 40001, if that would have to be done for p_from_day or later, which are not among them';

-- Arrays of 24, one element if they are the same to the bit.
CREATE OR REPLACE FUNCTION internal.shortened(p_array anyarray) RETURNS anyarray
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN array_send(p_array) = array_send(array_fill(p_array[1], ARRAY[cardinality(p_array)]))
            THEN p_array[1:1]
        ELSE p_array
    END
$$;
COMMENT ON FUNCTION internal.shortened IS 'The first element alone, if all are the same to the bit';

CREATE OR REPLACE FUNCTION internal.of_hour(p_array anyarray, p_number int) RETURNS anyelement
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT p_array[least(p_number, cardinality(p_array))] $$;
COMMENT ON FUNCTION internal.of_hour IS 'An element of what internal.shortened may have shortened';

-- The view series_hour calls them with the rights of whoever reads it.
GRANT EXECUTE ON FUNCTION internal.hours_from(text), internal.of_hour(anyarray, int) TO sql_reader;
