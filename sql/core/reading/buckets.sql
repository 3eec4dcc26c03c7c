-- Buckets of time, and the plan by which a period is read.
--
-- Buckets are counted in UTC from Monday 2000-01-03 (months from 2000-01-01), whatever the
-- session's time zone. Everything here is plain arithmetic and touches no table.
--
-- A day is '24 hours', here and wherever time is counted: a timestamptz and '1 day' make 23 or 25
-- hours where the session's time zone changes its clocks. (To date_bin alone they are the same.)

-- How many months an interval has; 0 for one of days, hours and seconds.
CREATE OR REPLACE FUNCTION internal.interval_months(p_interval interval) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT (12 * extract(year FROM p_interval) + extract(month FROM p_interval))::int
$$;

-- Whether a bucket of p_interval is made of whole units (a minute, an hour, a day).
CREATE OR REPLACE FUNCTION internal.is_multiple(p_interval interval, p_unit interval)
RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT internal.interval_months(p_interval) <> 0
        OR extract(epoch FROM p_interval) % extract(epoch FROM p_unit) = 0
$$;

-- Raises 22023 unless p_interval, an argument called p_name, can be the width of a bucket.
DROP FUNCTION IF EXISTS internal.check_interval(interval);  -- that of earlier versions
CREATE OR REPLACE FUNCTION internal.check_interval(
    p_interval interval, p_name text DEFAULT 'p_interval'
) RETURNS void
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$
DECLARE
    v_months int;
    v_rest interval;
BEGIN
    IF NOT isfinite(p_interval) THEN
        RAISE EXCEPTION '% must be finite, not "%"', p_name, p_interval
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    v_months := internal.interval_months(p_interval);
    v_rest := p_interval - make_interval(months => v_months);
    IF v_months <> 0 AND v_rest <> interval '0' THEN
        RAISE EXCEPTION '% mixes months with smaller units: "%"', p_name, p_interval
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Use months and years alone, such as "1 month", or days and smaller '
                      'units alone, such as "30 days".';
    END IF;
    IF v_months <= 0 AND v_rest <= interval '0' THEN
        RAISE EXCEPTION '% must be positive, not "%"', p_name, p_interval
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;

-- Whole months from 2000-01 to the month of p_time, in UTC.
CREATE OR REPLACE FUNCTION internal.months_since_2000(p_time timestamptz) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT (12 * (extract(year FROM p_time AT TIME ZONE 'UTC') - 2000)
            + extract(month FROM p_time AT TIME ZONE 'UTC') - 1)::int
$$;

-- Start of the bucket that holds p_time; p_interval must have passed check_interval. One
-- expression and not STRICT, so that the planner puts it in the place of the call: it runs once a
-- row.
CREATE OR REPLACE FUNCTION internal.bucket_start(p_interval interval, p_time timestamptz)
RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE internal.interval_months(p_interval)
        WHEN 0 THEN date_bin(p_interval, p_time, internal.bucket_origin())
        ELSE (
            timestamp '2000-01-01' + p_interval * floor(
                internal.months_since_2000(p_time)::float8 / internal.interval_months(p_interval))
        ) AT TIME ZONE 'UTC'
    END
$$;

-- The whole units inside [p_from, p_to): lo is p_from rounded up, hi is p_to rounded down. Where
-- there are none, or p_interval is no multiple of the unit, the empty range [p_to, p_to).
CREATE OR REPLACE FUNCTION internal.whole_units(
    p_unit interval, p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (lo timestamptz, hi timestamptz)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 1
AS $$
    SELECT CASE WHEN u.some THEN u.lo ELSE p_to END, CASE WHEN u.some THEN u.hi ELSE p_to END
    FROM (
        SELECT e.lo, e.hi, e.lo < e.hi AND internal.is_multiple(p_interval, p_unit) AS some
        FROM (
            SELECT
                internal.bucket_start(p_unit, p_from + p_unit - interval '1 microsecond') AS lo,
                internal.bucket_start(p_unit, p_to) AS hi
        ) AS e
    ) AS u
$$;

-- Which relation to read for which part of [p_from, p_to), in at most seven parts, oldest first:
--
--     raw edge | minutes | hours | whole days | hours | minutes | raw edge
--
-- Each relation is the coarsest that both its part's edges and p_interval allow, so that a year at
-- a day's step reads days however crooked its edges are. Parts never overlap and leave nothing out.
CREATE OR REPLACE FUNCTION internal.read_plan(
    p_interval interval, p_from timestamptz, p_to timestamptz
) RETURNS TABLE (source text, lo timestamptz, hi timestamptz)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 7
AS $$
    SELECT part.*
    FROM internal.whole_units('1 minute', p_interval, p_from, p_to) AS m,
        internal.whole_units('1 hour', p_interval, m.lo, m.hi) AS h,
        internal.whole_units('24 hours', p_interval, h.lo, h.hi) AS d,
        LATERAL (
            VALUES
                ('rollup_raw', p_from, m.lo),
                ('rollup_1m', m.lo, h.lo),
                ('rollup_1h', h.lo, d.lo),
                ('rollup_1d', d.lo, d.hi),
                ('rollup_1h', d.hi, h.hi),
                ('rollup_1m', h.hi, m.hi),
                ('rollup_raw', m.hi, p_to)
        ) AS part (source, lo, hi)
    WHERE part.lo < part.hi
    ORDER BY part.lo
$$;
