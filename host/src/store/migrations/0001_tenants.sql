CREATE TABLE tenants (
    id              TEXT    NOT NULL PRIMARY KEY,
    slot            INTEGER NOT NULL,
    base_url        TEXT    NOT NULL,
    settings        TEXT    NOT NULL DEFAULT '{}',          -- JSON object of texts
    allow_origins   TEXT    NOT NULL DEFAULT '[]',          -- JSON list of origins
    enabled         INTEGER NOT NULL DEFAULT 1,
    replay_window_s INTEGER NOT NULL DEFAULT 300,
    enhance_on      TEXT    NOT NULL DEFAULT '["created"]', -- JSON list of events
    created_ms      INTEGER NOT NULL,
    updated_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
