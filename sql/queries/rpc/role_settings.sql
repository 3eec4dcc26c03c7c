-- What ALTER ROLE … SET says of the roles that a request may become, here or in every database: a
-- document of role, name, value. What our login may not set is left out; PostgreSQL itself applies these
-- settings at login alone.
SELECT coalesce(json_object_agg(e.role, e.settings), '{}')::text
FROM (
  SELECT s.role, json_object_agg(s.name, s.value) AS settings
  FROM (
    SELECT DISTINCT ON (r.rolname, lower(c.name)) r.rolname AS role, lower(c.name) AS name, c.value
    FROM pg_catalog.pg_db_role_setting AS d
    JOIN pg_catalog.pg_roles AS r ON r.oid = d.setrole
    JOIN pg_catalog.pg_auth_members AS m ON m.roleid = r.oid
    JOIN pg_catalog.pg_roles AS h ON h.oid = m.member AND h.rolname = 'authenticator'
    CROSS JOIN LATERAL (
      SELECT split_part(u.text, '=', 1) AS name, substr(u.text, strpos(u.text, '=') + 1) AS value
      FROM unnest(d.setconfig) AS u (text)
    ) AS c
    LEFT JOIN pg_catalog.pg_settings AS p ON lower(p.name) = lower(c.name)
    WHERE d.setdatabase IN (
        0, (SELECT b.oid FROM pg_catalog.pg_database AS b WHERE b.datname = current_database())
      )
      AND (p.name IS NULL OR p.context = 'user' OR has_parameter_privilege(p.name, 'SET'))
    ORDER BY r.rolname, lower(c.name), d.setdatabase DESC
  ) AS s
  GROUP BY s.role
) AS e
