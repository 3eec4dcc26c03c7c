-- What a metric's samples amount to in each bucket, for each group of its series.
--
--   whole metrics ──► rollups, by the plan of reading/buckets.sql ─┐
--                                                                  ├─► parts ──► value
--   some series, or a metric that falls into groups ──► units ─────┘
--                          units ──► increments ───────────────────────► value
--                          samples ──► quantiles ──────────────────────► value
--
-- A unit is a sample, or an hour of one series (core/hours/units.sql), where that has been made and lies
-- in one bucket.
--
-- All here are called with what stands on one side of `asked`: parallel arrays of series or metrics,
-- and the number of the group of each. A slot is the number of a bucket among p_starts.

CREATE OR REPLACE FUNCTION internal.value_aggregates() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT ARRAY['avg', 'sum', 'min', 'max', 'last', 'count', 'rate', 'increase', 'p50', 'p90', 'p95', 'p99'] $$;

-- What a question is about. `series` and its neighbours are null if p_by_metric and there is nothing
-- to match or to group by: a metric of many series need not be unrolled to be read as a whole.
-- Series of the same labels are one line (a changed routing rule begins a new series).
CREATE OR REPLACE FUNCTION internal.asked(
    p_metric text, p_match jsonb, p_by text[], p_by_metric boolean,
    OUT series bigint[], OUT series_targets text[], OUT lines bigint[], OUT groups int[],
    OUT labels jsonb[], OUT targets text[], OUT schemas text[], OUT names text[],
    OUT metric_groups int[], OUT is_whole boolean
)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_tenant_id int := internal.current_tenant_id();
BEGIN
    IF p_by_metric AND p_by = '{}' AND coalesce(p_match, '{}') = '{}' THEN
        SELECT array_agg(m.target), array_agg(m.schema), array_agg(m.name), array_agg(1)
        INTO targets, schemas, names, metric_groups
        FROM internal.metric AS m
        WHERE m.tenant_id = v_tenant_id
            AND (p_metric IS NULL OR m.name = lower(p_metric COLLATE "C"));
        labels := ARRAY[jsonb '{}'];
        is_whole := targets IS NOT NULL;
        RETURN;
    END IF;
    WITH matched AS MATERIALIZED (
        SELECT s.*, internal.labels_by(s.labels, p_by) AS group_labels
        FROM internal.matched_series(p_metric, p_match) AS s
    ), numbered AS MATERIALIZED (
        SELECT m.series_id, m.metric_id, m.target, m.schema, m.name, m.group_labels,
            min(m.series_id) OVER (PARTITION BY m.target, m.labels) AS line,
            dense_rank() OVER (ORDER BY m.group_labels)::int AS grp
        FROM matched AS m
    ), metric AS (
        SELECT n.target, n.schema, n.name, min(n.grp) AS grp,
            min(n.grp) = max(n.grp) AND count(*) = (
                SELECT count(*) FROM internal.series AS s WHERE s.metric_id = n.metric_id
            ) AS is_whole
        FROM numbered AS n GROUP BY n.metric_id, n.target, n.schema, n.name
    )
    SELECT n.*, g.labels, m.*
    INTO series, series_targets, lines, groups, labels,
        targets, schemas, names, metric_groups, is_whole
    FROM (
        SELECT array_agg(series_id), array_agg(target), array_agg(line), array_agg(grp)
        FROM numbered
    ) AS n,
    (
        SELECT array_agg(group_labels ORDER BY grp)
        FROM (SELECT DISTINCT grp, group_labels FROM numbered) AS d
    ) AS g (labels),
    (
        SELECT array_agg(target), array_agg(schema), array_agg(name), array_agg(grp),
            bool_and(metric.is_whole)
        FROM metric
    ) AS m;
END
$$;

-- SQL that reads samples of some targets with $1 <= time < $2 of the series $3, without NaN and stale
-- markers. decimal is what a sample counts as: exact, else the shortest decimal of value.
CREATE OR REPLACE FUNCTION internal.samples_sql(p_targets text[]) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
AS $$
    SELECT string_agg(DISTINCT format(
        'SELECT %L AS target, x.time, x.series_id, x.value, x.exact,
             coalesce(x.exact, x.value::text::numeric) AS decimal
         FROM %I.samples_between($1, $2) AS x
         WHERE x.series_id = ANY ($3) AND x.value <> ''NaN''',
        target, target), ' UNION ALL ')
    FROM unnest(p_targets) AS target
$$;

-- The same as units, NaN left out: SQL that reads hours of the series p_by_hour, an expression, and of
-- buckets $4, if the period is long.
CREATE OR REPLACE FUNCTION internal.units_sql(
    p_targets text[], p_from timestamptz, p_to timestamptz, p_by_hour text, p_kind text
) RETURNS text
LANGUAGE sql STABLE STRICT
AS $$
    SELECT string_agg(format(CASE WHEN internal.reads_hours(target, p_from, p_to)
        THEN 'SELECT %1$L AS target, u.* FROM %1$I.units($3, %2$s, $4, $1, $2, %3$L) AS u
              WHERE u.max <> ''NaN'''
        ELSE 'SELECT %1$L AS target, u.* FROM %1$I.sample_units($1, $2) AS u
              WHERE u.series_id = ANY ($3) AND u.max <> ''NaN'''
        END, target, p_by_hour, p_kind), ' UNION ALL ')
    FROM (SELECT DISTINCT unnest(p_targets)) AS t (target)
$$;

-- What parts of the period know of a slot and group. exact_min: no rollup has it. The last sample is
-- kept as rollups keep it, {seconds, series_id, value}, and the newest exact one beside it.
--
-- One statement a target and part of the plan, planned with the values at hand. What p_aggregate does
-- not need is not computed.
CREATE OR REPLACE FUNCTION internal.rollup_parts(
    p_aggregate text, p_targets text[], p_schemas text[], p_names text[], p_groups int[],
    p_starts timestamptz[], p_from timestamptz, p_to timestamptz
) RETURNS TABLE (
    slot int, grp int, samples bigint, sum numeric, min float8, max float8,
    exact_min numeric, exact_max numeric, last float8[], exact_last numeric[]
)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_unit      interval := internal.common_unit(p_starts);
    v_tenant_id int := internal.current_tenant_id();
    v_of        record;
BEGIN
    FOR v_of IN
        SELECT t.target, p.source, p.lo, p.hi, CASE p.source WHEN 'rollup_raw'
            THEN '1, r.max, r.exact_max, r.series_id' ELSE 'r.samples, r.min, NULL, 0'
        END AS known
        FROM (SELECT DISTINCT unnest(p_targets) AS target) AS t
        CROSS JOIN internal.read_plan(v_unit, p_from, p_to) AS p
    LOOP
        RETURN QUERY EXECUTE format(
            'SELECT width_bucket(r.bucket, $1), k.grp, sum(known.samples)::bigint,
                 CASE WHEN $9 IN (''sum'', ''avg'', ''rate'', ''increase'') THEN sum(r.sum) END,
                 min(known.min), max(r.max), min(known.exact_min::numeric), max(r.exact_max),
                 CASE WHEN $9 = ''last'' THEN
                     max(ARRAY[date_part(''epoch'', r.bucket), known.series_id, r.last]) END,
                 CASE WHEN $9 = ''last'' THEN
                     max(ARRAY[extract(epoch FROM r.bucket), known.series_id, r.exact_last])
                         FILTER (WHERE r.exact_last IS NOT NULL) END
             FROM %I.%I($2, $3, $4, $5, $6) AS r
             JOIN unnest($7, $3, $4, $8) AS k (target, schema, name, grp)
                 ON k.target = %L AND (k.schema, k.name) = (r.schema, r.name)
             CROSS JOIN LATERAL (VALUES (%s)) AS known (samples, min, exact_min, series_id)
             GROUP BY 1, 2',
            v_of.target, v_of.source || '_between', v_of.target, v_of.known
        ) USING p_starts, v_tenant_id, p_schemas, p_names, v_of.lo, v_of.hi, p_targets, p_groups,
                p_aggregate;
    END LOOP;
END
$$;

-- The same from samples of some series.
CREATE OR REPLACE FUNCTION internal.series_parts(
    p_aggregate text, p_series bigint[], p_targets text[], p_groups int[],
    p_starts timestamptz[], p_from timestamptz, p_to timestamptz
) RETURNS TABLE (
    slot int, grp int, samples bigint, sum numeric, min float8, max float8,
    exact_min numeric, exact_max numeric, last float8[], exact_last numeric[]
)
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT width_bucket(x.first_time, $4), k.grp, sum(x.samples),
             CASE WHEN $6 IN (''sum'', ''avg'', ''rate'', ''increase'') THEN sum(x.sum) END,
             min(x.min), max(x.max), min(x.exact), max(x.exact),
             CASE WHEN $6 = ''last'' THEN
                 max(ARRAY[date_part(''epoch'', x.last_time), x.series_id, x.last]) END,
             CASE WHEN $6 = ''last'' THEN
                 max(ARRAY[extract(epoch FROM x.last_time), x.series_id, x.exact])
                     FILTER (WHERE x.exact IS NOT NULL) END
         FROM (%s) AS x
         JOIN unnest($3, $5) AS k (series_id, grp) USING (series_id)
         GROUP BY 1, 2', internal.units_sql(p_targets, p_from, p_to, '$3', 'values')
    ) USING p_from, p_to, p_series, p_starts, p_groups, p_aggregate;
END
$$;

-- Increments of counters: what each sample has more than the one before it in its line, if that is at
-- most longest_step() older; after a reset, which is a smaller value, all of it. The first sample of a
-- line has nothing before it and adds nothing. Samples of target cumsum are increments already.
--
-- An hour of a series, which is then alone in its line, has what it gained from its first sample to its
-- last one, and a step to the first one.
CREATE OR REPLACE FUNCTION internal.increments(
    p_series bigint[], p_targets text[], p_lines bigint[], p_groups int[],
    p_starts timestamptz[], p_from timestamptz, p_to timestamptz
) RETURNS TABLE (slot int, grp int, value numeric)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_samples  text := internal.samples_sql(p_targets);
    v_alone    bigint[] := ARRAY(
        SELECT min(k.series_id) FROM unnest(p_series, p_lines) AS k (series_id, line)
        GROUP BY k.line HAVING count(*) = 1);
    v_missing  bigint[] := p_series;
    v_until    timestamptz := p_from;
    v_back     interval;
    v_ids      bigint[] := '{}';
    v_times    timestamptz[] := '{}';
    v_decimals numeric[] := '{}';
    v_found    record;
BEGIN
    -- What stands before the period: nearly always some minutes ago, and only those that are not
    -- found there are looked for in older partitions or chunks.
    FOREACH v_back IN ARRAY ARRAY[interval '10 minutes', '6 hours', internal.longest_step()] LOOP
        EXECUTE format(
            'SELECT array_agg(b.series_id) AS ids, array_agg(b.time) AS times,
                 array_agg(b.decimal) AS decimals
             FROM (
                 SELECT DISTINCT ON (x.series_id) x.* FROM (%s) AS x
                 WHERE abs(x.value) < ''Infinity'' ORDER BY x.series_id, x.time DESC
             ) AS b', v_samples
        ) INTO v_found USING p_from - v_back, v_until, v_missing;
        v_ids := v_ids || v_found.ids;
        v_times := v_times || v_found.times;
        v_decimals := v_decimals || v_found.decimals;
        v_missing := ARRAY(SELECT unnest(v_missing) EXCEPT SELECT unnest(v_found.ids));
        v_until := p_from - v_back;
        EXIT WHEN v_missing = '{}';
    END LOOP;
    RETURN QUERY EXECUTE format(
        'SELECT width_bucket(d.time, $4), d.grp, sum(d.increment)
         FROM (
             SELECT x.time, k.grp, CASE
                 WHEN k.target = ''cumsum'' THEN x.sum
                 WHEN x.gained IS NULL THEN s.step
                 ELSE x.gained + coalesce(s.step, 0)
             END AS increment
             FROM (
                 SELECT w.*, lag(w.last_time) OVER line AS before_at, lag(w.last) OVER line AS before
                 FROM (
                     SELECT u.first_time AS time, u.last_time, u.series_id, u.sum, u.first,
                         CASE WHEN u.samples = 1 THEN u.first ELSE u.last::text::numeric END AS last,
                         CASE WHEN u.samples > 1 THEN u.last::text::numeric - u.first + u.lost END
                             AS gained
                     FROM (
                         SELECT v.first_time, v.last_time, v.series_id, v.samples, v.sum, v.last,
                             v.lost, coalesce(v.exact, v.first::text::numeric) AS first
                         FROM (%s) AS v
                         WHERE v.min > ''-Infinity'' AND v.max < ''Infinity''
                         OFFSET 0
                     ) AS u
                     UNION ALL
                     SELECT b.time, b.time, b.series_id, NULL, b.decimal, b.decimal, NULL
                     FROM unnest($8, $9, $10) AS b (time, series_id, decimal)
                 ) AS w
                 JOIN unnest($3, $6) AS l (series_id, line) USING (series_id)
                 WINDOW line AS (PARTITION BY l.line ORDER BY w.time, w.series_id)
             ) AS x
             JOIN unnest($3, $5, $7) AS k (series_id, target, grp) USING (series_id)
             CROSS JOIN LATERAL (
                 SELECT CASE
                     WHEN x.time - x.before_at > internal.longest_step() THEN NULL
                     WHEN x.first < x.before THEN x.first
                     ELSE x.first - x.before
                 END AS step
             ) AS s
         ) AS d
         WHERE d.time >= $1 AND d.increment IS NOT NULL
         GROUP BY 1, 2', internal.units_sql(p_targets, p_from, p_to, '$11', 'steps')
    ) USING p_from, p_to, p_series, p_starts, p_targets, p_lines, p_groups,
            v_times, v_ids, v_decimals, v_alone;
END
$$;

-- What lies at p_fraction of the way through sorted values, on the line between the two next to it.
CREATE OR REPLACE FUNCTION internal.quantile_of(p_sorted numeric[], p_fraction numeric)
RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN low = high THEN low
        WHEN low = '-Infinity' AND high = 'Infinity' THEN NULL
        WHEN low = '-Infinity' OR high = 'Infinity' THEN low + high
        ELSE low + (high - low) * (rank - floor(rank))
    END
    FROM (SELECT p_fraction * (cardinality(p_sorted) - 1) AS rank) AS r,
        LATERAL (
            SELECT p_sorted[floor(rank)::int + 1] AS low, p_sorted[ceil(rank)::int + 1] AS high
        ) AS neighbours
$$;

-- p_aggregate is p50 or the like.
CREATE OR REPLACE FUNCTION internal.quantiles(
    p_aggregate text, p_series bigint[], p_targets text[], p_groups int[],
    p_starts timestamptz[], p_from timestamptz, p_to timestamptz
) RETURNS TABLE (slot int, grp int, value numeric)
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT width_bucket(x.time, $4), k.grp,
             internal.quantile_of(array_agg(x.decimal ORDER BY x.decimal), $6)
         FROM (%s) AS x
         JOIN unnest($3, $5) AS k (series_id, grp) USING (series_id)
         GROUP BY 1, 2', internal.samples_sql(p_targets)
    ) USING p_from, p_to, p_series, p_starts, p_groups, right(p_aggregate, -1)::numeric / 100;
END
$$;

-- Whether any of these metrics has exact values on the days that a period meets.
CREATE OR REPLACE FUNCTION internal.has_exact(
    p_targets text[], p_schemas text[], p_names text[], p_from timestamptz, p_to timestamptz
) RETURNS boolean
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_target text;
    v_has    boolean := false;
BEGIN
    FOR v_target IN SELECT DISTINCT unnest(p_targets) LOOP
        EXECUTE format(
            'SELECT EXISTS (
                 SELECT FROM %I.rollup_1d_between($1, $2, $3, $4, $5) WHERE exact_max IS NOT NULL
             )', v_target
        ) INTO v_has USING internal.current_tenant_id(), p_schemas, p_names,
            internal.bucket_start('24 hours', p_from), p_to;
        EXIT WHEN v_has;
    END LOOP;
    RETURN v_has;
END
$$;

-- The value of each slot and group that has one, and the labels of the group. How many digits a quotient
-- has depends on those of its terms: without zeros, it says the same whatever it was added up from.
CREATE OR REPLACE FUNCTION internal.metric_values(
    p_metric text, p_match jsonb, p_by text[], p_aggregate text,
    p_starts timestamptz[], p_from timestamptz, p_to timestamptz
) RETURNS TABLE (slot int, grp int, labels jsonb, value numeric)
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
DECLARE
    v_combines boolean := p_aggregate IN ('avg', 'sum', 'min', 'max', 'last', 'count');
    v_asked    record;
BEGIN
    IF p_starts = '{}' THEN
        RETURN;
    END IF;
    v_asked := internal.asked(p_metric, p_match, p_by, v_combines);
    IF v_asked.targets IS NULL THEN
        RETURN;
    END IF;
    -- Increments add up as they are. Rollups do not know the smallest exact value, nor which of two
    -- metrics had the last sample.
    v_combines := v_combines OR v_asked.targets <@ ARRAY['cumsum'] AND p_aggregate IN ('rate', 'increase');
    IF NOT (
        v_combines AND v_asked.is_whole AND v_asked.targets <@ internal.rolled_up_targets()
        AND (p_aggregate <> 'last' OR cardinality(v_asked.names) = 1)
        AND (p_aggregate <> 'min' OR NOT internal.has_exact(
            v_asked.targets, v_asked.schemas, v_asked.names, p_from, p_to))
    ) THEN
        IF v_asked.series IS NULL THEN
            v_asked := internal.asked(p_metric, p_match, p_by, false);
        END IF;
        v_asked.is_whole := false;
    END IF;
    RETURN QUERY
    WITH of_slot AS (
        SELECT p.slot, p.grp, CASE p_aggregate
            WHEN 'count' THEN sum(p.samples)
            WHEN 'max' THEN coalesce(max(p.exact_max), max(p.max)::text::numeric)
            WHEN 'min' THEN coalesce(min(p.exact_min), min(p.min)::text::numeric)
            WHEN 'last' THEN coalesce((max(p.exact_last))[3], (max(p.last))[3]::text::numeric)
            WHEN 'avg' THEN CASE
                WHEN max(p.max) < 'Infinity' AND min(p.min) > '-Infinity'
                    THEN trim_scale(sum(p.sum)) / sum(p.samples)
                WHEN min(p.min) > '-Infinity' THEN 'Infinity'
                WHEN max(p.max) < 'Infinity' THEN '-Infinity'
            END
            ELSE sum(p.sum)
        END AS value
        FROM (
            SELECT * FROM internal.rollup_parts(
                p_aggregate, v_asked.targets, v_asked.schemas, v_asked.names,
                v_asked.metric_groups, p_starts, p_from, p_to)
            WHERE v_asked.is_whole
            UNION ALL
            SELECT * FROM internal.series_parts(
                p_aggregate, v_asked.series, v_asked.series_targets, v_asked.groups,
                p_starts, p_from, p_to)
            WHERE v_combines AND NOT v_asked.is_whole
        ) AS p
        GROUP BY p.slot, p.grp
        UNION ALL
        SELECT i.slot, i.grp, i.value
        FROM internal.increments(
            v_asked.series, v_asked.series_targets, v_asked.lines, v_asked.groups,
            p_starts, p_from, p_to) AS i
        WHERE NOT v_combines AND p_aggregate IN ('rate', 'increase')
        UNION ALL
        SELECT q.slot, q.grp, q.value
        FROM internal.quantiles(
            p_aggregate, v_asked.series, v_asked.series_targets,
            v_asked.groups, p_starts, p_from, p_to) AS q
        WHERE p_aggregate LIKE 'p__'
    )
    SELECT v.slot, v.grp, v_asked.labels[v.grp], CASE p_aggregate
        WHEN 'rate' THEN trim_scale(v.value) / extract(epoch FROM
            least(p_starts[v.slot + 1], p_to) - greatest(p_starts[v.slot], p_from))
        ELSE v.value
    END
    FROM of_slot AS v
    WHERE v.value IS NOT NULL;
END
$$;
