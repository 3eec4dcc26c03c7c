-- A piece of core/hours/making.sql: nothing has to be waited for but the day's end.

p_before
