-- A piece of buckets.sql: packed minutes. A condition on bucket is one on c, which is looked up in
-- packed_1m by span; for a known period {target}.minutes_between takes arrays apart once, not by minute.

UNION ALL
SELECT r.bucket, m.metric_id, m.tenant_id, m.schema, m.name, r.samples, r.sum, r.min, r.max,
    r.last_key, r.exact_max, r.exact_last_key
FROM internal.metric m
JOIN (
    SELECT @packed_columns@
    FROM internal.minute AS c
    JOIN @target@.packed_1m AS p ON p.span = c.span
    CROSS JOIN LATERAL (
        SELECT c.bucket, p.samples[c.place] AS samples, p.sum[c.place] AS sum,
            p.min[c.place] AS min, p.max[c.place] AS max, p.last[c.place] AS last,
            p.last_us[c.place] AS last_us, p.last_series[c.place] AS last_series,
            p.exact_max[c.place] AS exact_max, p.exact_last[c.place] AS exact_last,
            p.exact_last_us[c.place] AS exact_last_us,
            p.exact_last_series[c.place] AS exact_last_series
    ) AS v
    WHERE p.samples IS NULL OR v.samples IS NOT NULL
) AS r USING (metric_id)
WHERE NOT EXISTS (
        SELECT FROM @target@.mark AS k WHERE k.metric_id = r.metric_id @is_live@)
    AND NOT EXISTS (
        SELECT FROM @target@.mark AS k WHERE k.metric_id IS NULL @is_live@)
