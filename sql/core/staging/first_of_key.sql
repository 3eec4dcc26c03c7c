-- A piece of move.sql: of several rows n with one idempotency key the first, in key order.

            WHERE NOT key_decides OR time = (
                SELECT i.time FROM app.idempotency AS i
                WHERE i.tenant_id = n.tenant_id AND i.store = '@name@' AND i.item_id = n.item_id)
            ORDER BY tenant_id, time, item_id
