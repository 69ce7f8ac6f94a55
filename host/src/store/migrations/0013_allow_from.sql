-- JSON list of the networks that a tenant's webhooks may come from; an empty one: anywhere.
ALTER TABLE tenants ADD COLUMN allow_from TEXT NOT NULL DEFAULT '[]';
