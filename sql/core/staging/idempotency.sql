-- A piece of move.sql, for what may come with an idempotency key. Everything goes in key order, so that
-- two writers wait for each other, never in a circle.

    IF EXISTS (SELECT FROM new_rows WHERE key_decides) THEN
        INSERT INTO app.idempotency (tenant_id, store, item_id, time)
        SELECT tenant_id, '@name@', item_id, min(time) FROM new_rows
        WHERE key_decides
        GROUP BY tenant_id, item_id
        ORDER BY tenant_id, item_id
        ON CONFLICT DO NOTHING;
    END IF;
