-- Tickets that are open again: their solution is not offered until they are solved later than that.
CREATE TABLE reopened_tickets (
    slot        INTEGER NOT NULL,
    tenant      TEXT    NOT NULL,
    ticket_id   TEXT    NOT NULL,
    reopened_ms INTEGER NOT NULL,
    told_ms     INTEGER NOT NULL, -- when that was accepted
    forget_ms   INTEGER,          -- how long it waits for a solution that is told late; NULL: there is one
    PRIMARY KEY (tenant, ticket_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX reopened_tickets_forget ON reopened_tickets (forget_ms) WHERE forget_ms IS NOT NULL;

-- When the ticket was solved for sure: resolved_ms, or later when the tool was asked later; and when that was accepted.
-- NULL in rows from before: resolved_ms and recorded_ms.
ALTER TABLE ticket_history ADD COLUMN as_of_ms INTEGER;
ALTER TABLE ticket_history ADD COLUMN told_ms INTEGER;

CREATE TRIGGER reopened_tickets_delete AFTER DELETE ON ticket_history BEGIN
    DELETE FROM reopened_tickets WHERE tenant = old.tenant AND ticket_id = old.ticket_id;
END;
