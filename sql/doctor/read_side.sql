-- Asked by the read side's own login: what it offers, and whether anonymous requests can be served.
SELECT json_array_length(internal.api_catalogue() -> 'functions') AS functions,
    pg_has_role(current_user, 'web_anon', 'MEMBER') AS can_become_anonymous
