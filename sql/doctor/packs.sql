-- The packs that are on.
SELECT internal.recorded_packs() AS packs
