-- Our roles: what is missing of them, and what they can do and should not.
SELECT wanted.role,
    r.oid IS NOT NULL AS is_there,
    coalesce(r.rolcanlogin, false) AS can_login,
    coalesce(r.rolsuper OR r.rolbypassrls OR r.rolreplication, false) AS is_powerful,
    wanted.role <> 'promgres_owner' AND r.oid IS NOT NULL
        AND to_regrole('promgres_owner') IS NOT NULL
        AND pg_has_role(wanted.role, 'promgres_owner', 'MEMBER') AS is_owner,
    ARRAY(
        SELECT m.role FROM unnest(wanted.member_of) AS m (role)
        WHERE r.oid IS NULL OR NOT EXISTS (
            SELECT FROM pg_auth_members a
            WHERE a.member = r.oid AND a.roleid = to_regrole(m.role)
        )
    ) AS not_in
FROM (VALUES
    ('promgres_owner', ARRAY[]::text[]),
    ('web_anon', ARRAY[]::text[]),
    ('writer', ARRAY[]::text[]),
    ('authenticator', ARRAY['web_anon', 'writer']),
    ('promgres_api', ARRAY['authenticator'])
) AS wanted (role, member_of)
LEFT JOIN pg_roles r ON r.rolname = wanted.role
