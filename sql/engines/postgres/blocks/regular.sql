-- A piece of samples.sql: the elements lo to hi of a block x of regular steps, as the list of a SELECT.
-- Functions that return sets hand on an element at once here; in FROM each would fill a table first,
-- and cost twice as much. The planner takes generate_series to return a thousand rows.

generate_series(
        x.first_time + (s.lo - 1) * x.step_ms * interval '1 millisecond',
        x.first_time + (s.hi - 1) * x.step_ms * interval '1 millisecond',
        x.step_ms * interval '1 millisecond'
    ) AS time, x.series_id, unnest(x.value[s.lo:s.hi]) AS value, unnest(x.exact[s.lo:s.hi]) AS exact
