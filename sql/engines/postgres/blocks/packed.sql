-- A piece of core/prometheus/samples.sql: samples that come as blocks, as long as they are not too many.

UNION ALL
    SELECT b.series_id,
        (extract(epoch FROM b.first_time) * 1000)::bigint
            + coalesce((b.lo - 1) * b.step_ms::bigint, 0),
        b.step_ms, CASE WHEN b.step_ms IS NULL THEN array_send(b.steps[:b.hi]) END, NULL,
        array_send(CASE WHEN b.hi - b.lo + 1 = b.count THEN b.value ELSE b.value[b.lo:b.hi] END)
    FROM (
        SELECT o.*,
            sum(o.hi - o.lo + 1) OVER (ORDER BY o.series_id, o.first_time) - (o.hi - o.lo + 1) AS before
        FROM @target@.blocks_between(p_from, v_to) AS o
        WHERE o.series_id = ANY (v_series)
    ) AS b
    WHERE b.before < p_most
