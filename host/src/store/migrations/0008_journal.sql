ALTER TABLE plugin_events ADD COLUMN version TEXT;
-- Who did it: the host by itself, or the user of this number through plugin-ctl; and why, in that user's words.
ALTER TABLE plugin_events ADD COLUMN who TEXT NOT NULL DEFAULT 'host';
ALTER TABLE plugin_events ADD COLUMN why TEXT;
