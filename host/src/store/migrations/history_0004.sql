-- The job that kept a solved ticket, so that it can be found when it is done. NULL in rows from before, and in those that no
-- job has made.
ALTER TABLE ticket_history ADD COLUMN job_id BLOB;
ALTER TABLE ticket_history ADD COLUMN correlation_id TEXT;
ALTER TABLE ticket_history ADD COLUMN job_kind TEXT;
ALTER TABLE ticket_history ADD COLUMN job_attempts INTEGER;
-- Ids grow with time, so a new entry goes to the end. With both ids in it, a search for either reads no texts.
CREATE INDEX ticket_history_job ON ticket_history (job_id, correlation_id) WHERE job_id IS NOT NULL;

-- When the job was put back after it had been a dead letter; NULL when it never was.
ALTER TABLE enhancement_history ADD COLUMN retried_ms INTEGER;
