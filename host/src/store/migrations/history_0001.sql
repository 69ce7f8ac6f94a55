CREATE TABLE enhancement_history (
    job_id         BLOB    NOT NULL PRIMARY KEY,
    slot           INTEGER NOT NULL,
    tenant         TEXT    NOT NULL,
    tool_type      TEXT    NOT NULL,
    ticket_id      TEXT    NOT NULL,
    correlation_id TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    note           TEXT,
    attempts       INTEGER NOT NULL,
    errors         TEXT    NOT NULL, -- JSON list
    accepted_ms    INTEGER NOT NULL,
    finished_ms    INTEGER NOT NULL
) STRICT;

CREATE TABLE ticket_history (
    id          INTEGER NOT NULL PRIMARY KEY,
    slot        INTEGER NOT NULL,
    tenant      TEXT    NOT NULL,
    tool_type   TEXT    NOT NULL,
    ticket_id   TEXT    NOT NULL,
    subject     TEXT,
    description TEXT,
    resolution  TEXT,
    tags        TEXT    NOT NULL DEFAULT '[]', -- JSON list of texts
    url         TEXT,
    resolved_ms INTEGER NOT NULL,
    recorded_ms INTEGER NOT NULL,
    UNIQUE (tenant, ticket_id)
) STRICT;

-- The tenant is indexed too, so that a search reads little more than the tenant's own rows.
CREATE VIRTUAL TABLE ticket_text USING fts5 (
    tenant, subject, description, resolution,
    content = 'ticket_history', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER ticket_text_insert AFTER INSERT ON ticket_history BEGIN
    INSERT INTO ticket_text (rowid, tenant, subject, description, resolution)
    VALUES (new.id, new.tenant, new.subject, new.description, new.resolution);
END;
CREATE TRIGGER ticket_text_delete AFTER DELETE ON ticket_history BEGIN
    INSERT INTO ticket_text (ticket_text, rowid, tenant, subject, description, resolution)
    VALUES ('delete', old.id, old.tenant, old.subject, old.description, old.resolution);
END;
CREATE TRIGGER ticket_text_update AFTER UPDATE ON ticket_history BEGIN
    INSERT INTO ticket_text (ticket_text, rowid, tenant, subject, description, resolution)
    VALUES ('delete', old.id, old.tenant, old.subject, old.description, old.resolution);
    INSERT INTO ticket_text (rowid, tenant, subject, description, resolution)
    VALUES (new.id, new.tenant, new.subject, new.description, new.resolution);
END;
