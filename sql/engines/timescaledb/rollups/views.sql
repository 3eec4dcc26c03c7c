-- What readers use: the continuous aggregates, without the columns that only combining needs.

DO $create$
DECLARE
    v_target text;
    v_width  text;
BEGIN
    FOREACH v_target IN ARRAY ARRAY['internal', 'cumsum'] LOOP
        FOREACH v_width IN ARRAY ARRAY['1m', '1h', '1d'] LOOP
            EXECUTE format($view$
CREATE OR REPLACE VIEW %1$I.rollup_%2$s WITH (security_barrier) AS
SELECT bucket, tenant_id, schema, name, samples, sum, min, max, last, exact_max, exact_last
FROM %1$I.parts_%2$s
WHERE coalesce(tenant_id = (SELECT internal.reader_tenant_id()), true);
COMMENT ON VIEW %1$I.rollup_%2$s IS
    'Aggregates of every committed sample of target %1$s, NaN left out; filter by tenant_id, a reader sees its own';
            $view$, v_target, v_width);
        END LOOP;
    END LOOP;
END
$create$;
