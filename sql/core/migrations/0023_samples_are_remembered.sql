-- Writers remember which samples are stored, too: a life ends when somebody takes samples away. See
-- catalogue/life.sql.

ALTER TABLE internal.life ADD COLUMN ended_samples boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN internal.life.ended_samples IS
    'Samples may be gone: what is stored is to be forgotten, ids are not';

CREATE TABLE internal.life_ending (
    transaction xid8 PRIMARY KEY
);
COMMENT ON TABLE internal.life_ending IS
    'Transactions that have taken samples away: when one commits, a life ends, and its row is gone';

DROP FUNCTION IF EXISTS internal.life_since(uuid, bigint, text);
