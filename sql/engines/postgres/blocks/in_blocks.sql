-- A piece of core/prometheus/samples.sql: how many samples need not be counted one by one.

(
        SELECT coalesce(sum(o.hi - o.lo + 1), 0)
        FROM @target@.blocks_between(p_from, v_to) AS o
        WHERE o.series_id = ANY (v_series)
    )
