-- A piece of core/staging/move.sql: samples whose time is not closed yet.

WHERE n.time >= (SELECT k.closed_before FROM internal.packed AS k WHERE k.target = '@target@')
