CREATE TABLE plugin_events (
    id         INTEGER NOT NULL PRIMARY KEY,
    at_ms      INTEGER NOT NULL,
    tool_type  TEXT,
    generation INTEGER,
    sha256     TEXT,
    code       TEXT    NOT NULL,
    message    TEXT    NOT NULL
) STRICT;
