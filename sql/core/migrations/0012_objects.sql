-- What repeatable files made, so that what is gone can be told and brought back.

CREATE TABLE internal.object (
    kind text NOT NULL,
    name text NOT NULL,
    file text NOT NULL,
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE internal.object IS
    'Functions, views and triggers that repeatable files of sql/ made in this database';
COMMENT ON COLUMN internal.object.kind IS 'routine, view or trigger';
COMMENT ON COLUMN internal.object.name IS 'As SQL says it: a routine with its arguments, a trigger with its table';

-- They are applied again, which fills the list.
DELETE FROM internal.migration WHERE file LIKE '%/repeatable/%';
