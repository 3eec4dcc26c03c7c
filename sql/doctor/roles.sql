-- Our roles: what is missing of them, and what they can do and should not. `owner_through` is the
-- group that hands a role the owner's rights.
SELECT wanted.role,
    r.oid IS NOT NULL AS is_there,
    coalesce(r.rolcanlogin, false) AS can_login,
    coalesce(r.rolsuper OR r.rolbypassrls OR r.rolreplication, false) AS is_powerful,
    (
        SELECT g.rolname::text
        FROM pg_auth_members a
        JOIN pg_roles g ON g.oid = a.roleid
        WHERE a.member = r.oid
            AND g.rolname NOT IN ('web_anon', 'writer', 'authenticator', 'sql_reader')
            AND pg_has_role(g.oid, to_regrole('promgres_owner'), 'MEMBER')
        LIMIT 1
    ) AS owner_through,
    ARRAY(
        SELECT m.role FROM unnest(wanted.member_of) AS m (role)
        WHERE r.oid IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_auth_members a
            WHERE a.member = r.oid AND a.roleid = to_regrole(m.role)
        )
    ) AS not_in
FROM (VALUES
    (1, 'promgres_owner', ARRAY[]::text[]),
    (2, 'web_anon', ARRAY[]::text[]),
    (3, 'writer', ARRAY[]::text[]),
    (4, 'authenticator', ARRAY['web_anon', 'writer']),
    (5, 'promgres_api', ARRAY['authenticator']),
    (6, 'sql_reader', ARRAY['web_anon']),
    (7, 'promgres_reader', ARRAY['sql_reader'])
) AS wanted (place, role, member_of)
LEFT JOIN pg_roles r ON r.rolname = wanted.role
ORDER BY wanted.place
