-- Time limits of the session's own that end it before it can do anything.
SELECT name, current_setting(name) AS value, session_user AS login
FROM unnest(ARRAY[
    'statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout'
]) AS limits (name)
WHERE current_setting(name, true)::interval > '0'
    AND current_setting(name, true)::interval < '100 milliseconds'
