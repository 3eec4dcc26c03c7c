-- Functions, views and triggers of ours that are gone, and triggers that are off.
SELECT kind, name FROM internal.missing_object ORDER BY kind DESC, name
