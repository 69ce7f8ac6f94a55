-- How far ahead of the host's clock a signed time stamp may be, in seconds.
ALTER TABLE tenants ADD COLUMN replay_ahead_s INTEGER NOT NULL DEFAULT 30;
