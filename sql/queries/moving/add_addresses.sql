-- Addresses that a tenant leaves out of its circulating supply, in the order given; how many are new.
WITH added AS (
    INSERT INTO internal.excluded_addresses (tenant_id, value)
    SELECT $1, value FROM unnest($2::text[]) WITH ORDINALITY AS given (value, place)
    ORDER BY place
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM added
