-- Keys that are good now: $1 seconds from now on one is about to end, and after $2 seconds without a
-- request it is idle. `is_in_use` is about the last hour.
SELECT k.key_id, k.name, t.name AS tenant, k.replaced_by,
    extract(epoch FROM k.expires_at - now())::float8 AS seconds_left,
    k.expires_at IS NOT NULL AND k.expires_at < now() + make_interval(secs => $1) AS ends_soon,
    coalesce(k.last_used_at > now() - interval '1 hour', false) AS is_in_use,
    coalesce(k.last_used_at, k.created_at) < now() - make_interval(secs => $2) AS is_idle
FROM app.api_key k
JOIN app.tenant t USING (tenant_id)
WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
ORDER BY k.expires_at, k.key_id
