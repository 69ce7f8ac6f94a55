-- Whose a row is: the incarnation of its tenant (see the main file). Tickets of two incarnations may bear one id.
CREATE TABLE tickets_owned (
    id          INTEGER NOT NULL PRIMARY KEY,
    slot        INTEGER NOT NULL,
    tenant      TEXT    NOT NULL,
    incarnation INTEGER NOT NULL,
    tool_type   TEXT    NOT NULL,
    ticket_id   TEXT    NOT NULL,
    subject     TEXT,
    description TEXT,
    resolution  TEXT,
    tags        TEXT    NOT NULL DEFAULT '[]', -- JSON list of texts
    url         TEXT,
    resolved_ms INTEGER NOT NULL,
    recorded_ms INTEGER NOT NULL,
    as_of_ms    INTEGER, -- when the ticket was solved for sure; NULL in rows from before it was kept: resolved_ms
    told_ms     INTEGER, -- when that was accepted; NULL: recorded_ms
    UNIQUE (tenant, incarnation, ticket_id)
) STRICT;
INSERT INTO tickets_owned (id, slot, tenant, incarnation, tool_type, ticket_id, subject, description, resolution, tags, url,
                           resolved_ms, recorded_ms, as_of_ms, told_ms)
SELECT id, slot, tenant, 1, tool_type, ticket_id, subject, description, resolution, tags, url,
       resolved_ms, recorded_ms, as_of_ms, told_ms
FROM ticket_history;
-- Its triggers go with it.
DROP TABLE ticket_history;
ALTER TABLE tickets_owned RENAME TO ticket_history;
-- The rows have the ids that they had, so the index of their words is still right.
CREATE TRIGGER ticket_text_insert AFTER INSERT ON ticket_history BEGIN
    INSERT INTO ticket_text (rowid, tenant, subject, description, resolution)
    VALUES (new.id, new.tenant, new.subject, new.description, new.resolution);
END;
CREATE TRIGGER ticket_text_delete AFTER DELETE ON ticket_history BEGIN
    INSERT INTO ticket_text (ticket_text, rowid, tenant, subject, description, resolution)
    VALUES ('delete', old.id, old.tenant, old.subject, old.description, old.resolution);
END;
CREATE TRIGGER ticket_text_update AFTER UPDATE OF tenant, subject, description, resolution ON ticket_history BEGIN
    INSERT INTO ticket_text (ticket_text, rowid, tenant, subject, description, resolution)
    VALUES ('delete', old.id, old.tenant, old.subject, old.description, old.resolution);
    INSERT INTO ticket_text (rowid, tenant, subject, description, resolution)
    VALUES (new.id, new.tenant, new.subject, new.description, new.resolution);
END;

CREATE TABLE reopened_owned (
    slot        INTEGER NOT NULL,
    tenant      TEXT    NOT NULL,
    incarnation INTEGER NOT NULL,
    ticket_id   TEXT    NOT NULL,
    reopened_ms INTEGER NOT NULL,
    told_ms     INTEGER NOT NULL, -- when that was accepted
    forget_ms   INTEGER,          -- how long it waits for a solution that is told late; NULL: there is one
    PRIMARY KEY (tenant, incarnation, ticket_id)
) STRICT, WITHOUT ROWID;
INSERT INTO reopened_owned (slot, tenant, incarnation, ticket_id, reopened_ms, told_ms, forget_ms)
SELECT slot, tenant, 1, ticket_id, reopened_ms, told_ms, forget_ms FROM reopened_tickets;
DROP TABLE reopened_tickets;
ALTER TABLE reopened_owned RENAME TO reopened_tickets;
CREATE INDEX reopened_tickets_forget ON reopened_tickets (forget_ms) WHERE forget_ms IS NOT NULL;
CREATE TRIGGER reopened_tickets_delete AFTER DELETE ON ticket_history BEGIN
    DELETE FROM reopened_tickets
    WHERE tenant = old.tenant AND incarnation = old.incarnation AND ticket_id = old.ticket_id;
END;

ALTER TABLE enhancement_history ADD COLUMN incarnation INTEGER NOT NULL DEFAULT 1;

-- What each tenant has here: solved tickets, notes, and the bytes of their texts.
CREATE TABLE history_usage (
    tenant      TEXT    NOT NULL,
    incarnation INTEGER NOT NULL,
    tickets     INTEGER NOT NULL,
    notes       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    PRIMARY KEY (tenant, incarnation)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tickets_count_new AFTER INSERT ON ticket_history BEGIN
    INSERT INTO history_usage (tenant, incarnation, tickets, notes, bytes)
    VALUES (new.tenant, new.incarnation, 1, 0,
            coalesce(octet_length(new.subject), 0) + coalesce(octet_length(new.description), 0)
            + coalesce(octet_length(new.resolution), 0) + octet_length(new.tags))
    ON CONFLICT DO UPDATE SET tickets = tickets + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER tickets_count_texts AFTER UPDATE OF subject, description, resolution, tags ON ticket_history BEGIN
    UPDATE history_usage SET bytes = bytes
        + coalesce(octet_length(new.subject), 0) + coalesce(octet_length(new.description), 0)
        + coalesce(octet_length(new.resolution), 0) + octet_length(new.tags)
        - coalesce(octet_length(old.subject), 0) - coalesce(octet_length(old.description), 0)
        - coalesce(octet_length(old.resolution), 0) - octet_length(old.tags)
    WHERE tenant = new.tenant AND incarnation = new.incarnation;
END;
CREATE TRIGGER tickets_count_gone AFTER DELETE ON ticket_history BEGIN
    UPDATE history_usage SET tickets = tickets - 1, bytes = bytes
        - coalesce(octet_length(old.subject), 0) - coalesce(octet_length(old.description), 0)
        - coalesce(octet_length(old.resolution), 0) - octet_length(old.tags)
    WHERE tenant = old.tenant AND incarnation = old.incarnation;
END;
CREATE TRIGGER notes_count_new AFTER INSERT ON enhancement_history BEGIN
    INSERT INTO history_usage (tenant, incarnation, tickets, notes, bytes)
    VALUES (new.tenant, new.incarnation, 0, 1, coalesce(octet_length(new.note), 0) + octet_length(new.errors))
    ON CONFLICT DO UPDATE SET notes = notes + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER notes_count_texts AFTER UPDATE OF note, errors ON enhancement_history BEGIN
    UPDATE history_usage SET bytes = bytes + coalesce(octet_length(new.note), 0) + octet_length(new.errors)
        - coalesce(octet_length(old.note), 0) - octet_length(old.errors)
    WHERE tenant = new.tenant AND incarnation = new.incarnation;
END;
CREATE TRIGGER notes_count_gone AFTER DELETE ON enhancement_history BEGIN
    UPDATE history_usage SET notes = notes - 1,
        bytes = bytes - coalesce(octet_length(old.note), 0) - octet_length(old.errors)
    WHERE tenant = old.tenant AND incarnation = old.incarnation;
END;

-- For those that are forgotten by their age, and for a tenant's own.
CREATE INDEX ticket_history_resolved ON ticket_history (resolved_ms);
-- Each note pays for its index, so one serves both: those of an age are looked for tenant by tenant.
CREATE INDEX enhancement_history_tenant ON enhancement_history (tenant, incarnation, finished_ms);
