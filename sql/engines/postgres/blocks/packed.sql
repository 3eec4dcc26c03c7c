-- A piece of core/prometheus/samples.sql: samples that come as blocks, as long as they are not too many.

UNION ALL
    SELECT b.series_id,
        (extract(epoch FROM b.first_time) * 1000)::bigint + (b.lo - 1) * b.step_ms::bigint, b.step_ms,
        NULL, array_send(b.value[b.lo:b.hi])
    FROM (
        SELECT o.*,
            sum(o.hi - o.lo + 1) OVER (ORDER BY o.series_id, o.first_time) - (o.hi - o.lo + 1) AS before
        FROM @target@.blocks_between(p_from, v_to) AS o
        WHERE o.series_id = ANY (v_series)
    ) AS b
    WHERE b.before < p_most
