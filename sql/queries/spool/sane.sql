-- Entries that cannot be what we wrote, as far as that can be told without reading payloads.
SELECT count(*)
FROM entry
WHERE typeof(received_ms) <> 'integer' OR typeof(tenant_id) <> 'integer'
    OR typeof(protocol) <> 'integer' OR typeof(samples) <> 'integer'
    OR typeof(settled) <> 'integer' OR typeof(payload) <> 'blob'
    OR received_ms NOT BETWEEN 0 AND 253402300799999
    OR samples NOT BETWEEN 0 AND 1000000000 OR settled NOT BETWEEN 0 AND 1000000000;
