-- A piece: a minute as stored_1m has it, from a row p of packed_1m and v, its elements and its bucket.

p.metric_id, v.bucket, coalesce(v.samples, p.each_samples)::bigint AS samples,
            nullif(coalesce(v.sum, p.each_sum), 'NaN') AS sum,
            coalesce(v.min, v.max, p.each_max) AS min, coalesce(v.max, p.each_max) AS max,
            ARRAY[
                date_part('epoch', v.bucket + coalesce(v.last_us, p.each_last_us)
                    * interval '1 microsecond' - @origin@),
                coalesce(v.last_series, p.each_last_series), coalesce(v.last, v.max, p.each_max)
            ] AS last_key,
            v.exact_max,
            CASE WHEN v.exact_last IS NOT NULL THEN ARRAY[
                extract(epoch FROM v.bucket + coalesce(v.exact_last_us, v.last_us, p.each_last_us)
                    * interval '1 microsecond' - @origin@),
                coalesce(v.exact_last_series, v.last_series, p.each_last_series), v.exact_last
            ] END AS exact_last_key
