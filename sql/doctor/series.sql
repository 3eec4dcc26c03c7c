-- How many series there are, and which metrics those are of that came within a day.
SELECT count(*) AS series,
    count(*) FILTER (WHERE created_at > now() - interval '1 day') AS fresh,
    (
        SELECT string_agg(format('%s (%s of %s)', name, fresh, series), ', ' ORDER BY fresh DESC, name)
        FROM (
            SELECT m.name, count(*) AS series,
                count(*) FILTER (WHERE s.created_at > now() - interval '1 day') AS fresh
            FROM internal.series AS s JOIN internal.metric AS m USING (metric_id)
            GROUP BY m.name
            HAVING count(*) FILTER (WHERE s.created_at > now() - interval '1 day') > 0
            ORDER BY fresh DESC, m.name
            LIMIT 3
        ) AS most
    ) AS most
FROM internal.series
