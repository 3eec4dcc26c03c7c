-- Buckets of time in a time zone, and what fills those that have no value.
--
-- Starts of buckets are an array, and so is where a sample belongs: width_bucket finds the number of
-- its bucket (slot) by bisection, whatever makes some buckets longer than others.

-- The first instant at which the clocks of a zone show this time, where they show it twice; where they
-- skip it, that of the jump.
CREATE OR REPLACE FUNCTION internal.local_instant(p_local timestamp, p_zone text)
RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT CASE WHEN e.earlier AT TIME ZONE p_zone = p_local THEN least(e.earlier, e.usual)
        ELSE e.usual END
    FROM (
        -- As the clocks went some hours before: no zone turns them by more than two.
        SELECT s.usual, (p_local - (
            ((s.usual - interval '3 hours') AT TIME ZONE p_zone)
            - ((s.usual - interval '3 hours') AT TIME ZONE 'UTC')
        )) AT TIME ZONE 'UTC' AS earlier
        FROM (SELECT p_local AT TIME ZONE p_zone AS usual) AS s
    ) AS e
$$;

-- Starts of the buckets that [p_from, p_to) meets, and the end of the last one; p_step must have
-- passed check_interval, and the period be finite.
--
-- Months and whole days are those of the zone's calendar: a day from midnight to midnight has 23, 24
-- or 25 hours. What a day is a multiple of begins at each midnight. All else is counted in seconds
-- from the zone's midnight of Monday 2000-01-03.
CREATE OR REPLACE FUNCTION internal.bucket_starts(
    p_step interval, p_from timestamptz, p_to timestamptz, p_zone text
) RETURNS timestamptz[]
LANGUAGE plpgsql STABLE STRICT
AS $$
DECLARE
    v_months int := internal.interval_months(p_step);
    v_step   interval := make_interval(secs => extract(epoch FROM p_step)::float8);
    v_day    interval := interval '24 hours';
    v_first  timestamp := p_from AT TIME ZONE p_zone;
    v_last   timestamp := p_to AT TIME ZONE p_zone;
    v_origin timestamp := internal.bucket_origin() AT TIME ZONE 'UTC';
    v_starts timestamptz[];
BEGIN
    IF p_from >= p_to THEN
        RETURN '{}';
    ELSIF extract(epoch FROM p_to - p_from) / extract(epoch FROM p_step) > 5000000 THEN
        RAISE EXCEPTION 'more than 5,000,000 buckets are asked for'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Ask for a shorter period, or for a larger p_step.';
    ELSIF v_months > 0 THEN
        v_origin := '2000-01-01';
        SELECT array_agg(DISTINCT internal.local_instant(v_origin + p_step * n, p_zone))
        INTO v_starts
        FROM generate_series(
            floor(internal.months_since_2000(v_first AT TIME ZONE 'UTC')::float8 / v_months)::int,
            floor(internal.months_since_2000(v_last AT TIME ZONE 'UTC')::float8 / v_months)::int + 1
        ) AS n;
    ELSIF extract(epoch FROM v_step) % 86400 = 0 THEN
        SELECT array_agg(DISTINCT internal.local_instant(local, p_zone)) INTO v_starts
        FROM generate_series(
            date_bin(v_step, v_first - v_day, v_origin), v_last + v_step + v_day, v_step
        ) AS local;
    ELSIF 86400 % extract(epoch FROM v_step) = 0 AND p_zone <> 'UTC' THEN
        SELECT array_agg(DISTINCT start) INTO v_starts
        FROM (
            SELECT internal.local_instant(local, p_zone) AS midnight,
                internal.local_instant(local + v_day, p_zone) AS next
            FROM generate_series(
                date_trunc('day', v_first) - v_day, v_last + v_day, v_day) AS local
        ) AS day
        CROSS JOIN generate_series(midnight, next - interval '1 microsecond', v_step) AS start;
    ELSE
        SELECT array_agg(start) INTO v_starts
        FROM generate_series(
            date_bin(v_step, p_from, internal.local_instant(v_origin, p_zone)),
            p_to + v_step, v_step
        ) AS start;
    END IF;
    RETURN v_starts[width_bucket(p_from, v_starts)
        : width_bucket(p_to - interval '1 microsecond', v_starts) + 1];
END
$$;
COMMENT ON FUNCTION internal.bucket_starts IS
    'Starts of the buckets that a period meets in a time zone, oldest first, and the end of the last one';

-- The coarsest rollup whose buckets all lie within these; the edges of the period are read as they are.
CREATE OR REPLACE FUNCTION internal.common_unit(p_starts timestamptz[]) RETURNS interval
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN coalesce(bool_and(edge % 86400 = 0), true) THEN interval '24 hours'
        WHEN bool_and(edge % 3600 = 0) THEN '1 hour'
        WHEN bool_and(edge % 60 = 0) THEN '1 minute'
        ELSE '1 second'
    END
    FROM (
        SELECT extract(epoch FROM start) AS edge
        FROM unnest(p_starts[2 : cardinality(p_starts) - 1]) AS start
    ) AS inner_edge
$$;

-- A 200th of a period, rounded up to whole days, hours, minutes or seconds, whichever it has.
CREATE OR REPLACE FUNCTION internal.default_step(p_from timestamptz, p_to timestamptz)
RETURNS interval
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT make_interval(secs => (unit * greatest(ceil(exact / unit), 1))::float8)
    FROM (SELECT extract(epoch FROM p_to - p_from) / 200 AS exact) AS period,
        LATERAL (
            SELECT CASE WHEN exact > 86400 THEN 86400 WHEN exact > 3600 THEN 3600
                WHEN exact > 60 THEN 60 ELSE 1 END AS unit
        ) AS rounded
$$;

-- The period of a question: the last hour before p_to, which is now; of an endless one that part in
-- which samples may be.
CREATE OR REPLACE FUNCTION internal.asked_period(
    INOUT p_from timestamptz, INOUT p_to timestamptz
)
LANGUAGE sql STABLE
AS $$
    SELECT greatest(coalesce(p_from, until - interval '1 hour'), timestamptz '2000-01-01 00:00Z'),
        until
    FROM (
        SELECT CASE p_to WHEN 'infinity' THEN now() + interval '10 minutes'
            ELSE coalesce(p_to, now()) END
    ) AS edge (until)
$$;

-- One row a slot of each group, from rows of those that have a value (parallel arrays).
CREATE OR REPLACE FUNCTION internal.filled(
    p_fill text, p_starts timestamptz[], p_slots int[], p_groups int[], p_values numeric[]
) RETURNS TABLE (slot int, grp int, value numeric)
LANGUAGE sql STABLE
AS $$
    WITH known AS MATERIALIZED (
        SELECT * FROM unnest(p_slots, p_groups, p_values) AS k (slot, grp, value)
    ), each AS (
        SELECT s.slot, g.grp, known.value,
            count(known.value) OVER forward AS run, count(known.value) OVER backward AS rest
        FROM generate_series(1, cardinality(p_starts) - 1) AS s (slot)
        CROSS JOIN (SELECT DISTINCT grp FROM known) AS g
        LEFT JOIN known USING (slot, grp)
        WINDOW forward AS (PARTITION BY g.grp ORDER BY s.slot),
            backward AS (PARTITION BY g.grp ORDER BY s.slot DESC)
    ), between_known AS (
        SELECT each.slot, each.grp, each.value,
            first_value(each.value) OVER before AS before,
            p_starts[first_value(each.slot) OVER before] AS before_at,
            first_value(each.value) OVER after AS after,
            p_starts[first_value(each.slot) OVER after] AS after_at
        FROM each
        WINDOW before AS (PARTITION BY each.grp, each.run ORDER BY each.slot),
            after AS (PARTITION BY each.grp, each.rest ORDER BY each.slot DESC)
    )
    SELECT b.slot, b.grp, CASE
        WHEN b.value IS NOT NULL OR p_fill = 'null' THEN b.value
        WHEN p_fill = 'previous' THEN b.before
        WHEN abs(b.before) < 'Infinity' AND abs(b.after) < 'Infinity' THEN
            b.before + (b.after - b.before)
                * extract(epoch FROM p_starts[b.slot] - b.before_at)
                / extract(epoch FROM b.after_at - b.before_at)
    END
    FROM between_known AS b
$$;
COMMENT ON FUNCTION internal.filled IS
    'All slots of each group: those without a value get null, the previous one, or what lies on the line to the next';
