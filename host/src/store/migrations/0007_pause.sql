-- Jobs of a paused tenant wait; with jobs_paused = 1 those of all do.
ALTER TABLE tenants ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
INSERT INTO meta (key, value) VALUES ('jobs_paused', 0);
