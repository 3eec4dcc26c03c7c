-- What writers remember (ids of series, what is stored) holds for one life of the data. See
-- catalogue/life.sql.

CREATE TABLE internal.life (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    life         uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    ended_series bigint[],
    began        timestamptz NOT NULL DEFAULT now()
);
INSERT INTO internal.life DEFAULT VALUES;
COMMENT ON TABLE internal.life IS
    'Lives of the data, the newest is this one: each began when something that writers may remember was removed';
COMMENT ON COLUMN internal.life.ended_series IS
    'Ids that mean nothing from then on, and nothing else is to be forgotten; null: any may be gone';

CREATE TABLE internal.writer (
    writer    uuid PRIMARY KEY,
    mark      bigint NOT NULL,
    marked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE internal.writer IS
    'Marks of those who remember: each is written with, or after, what its writer remembers, so that a database which went back in time has an older one, or none';

CREATE TABLE internal.doomed_series (
    series_id bigint PRIMARY KEY,
    since     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE internal.doomed_series IS
    'Series of which nothing is left, and which no writer remembers: whoever asks for one takes it out, the others are removed';
