-- What the read side tells an operator of the database.
SELECT h."check", h.level, h.what, h.todo FROM internal.health() AS h
