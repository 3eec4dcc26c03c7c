-- A piece of core/hours/making.sql: what is packed, where samples are packed.

least(p_before, CASE WHEN internal.packs() THEN (
        SELECT k.packed_before FROM internal.packed AS k WHERE k.target = '@target@') END)
