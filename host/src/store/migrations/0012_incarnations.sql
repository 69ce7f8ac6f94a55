-- Who is added under an id that was there before is somebody else: nothing of the one before is its own. meta.incarnations: the
-- highest number that was given. Rows from before there were numbers have 1; dead letters that are older than the tenant of their
-- id have 0. (Live jobs went with their tenant before.) meta.history_incarnations: whether that was done in the other file too.
ALTER TABLE tenants ADD COLUMN incarnation INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN incarnation INTEGER NOT NULL DEFAULT 1;
ALTER TABLE dead_letters ADD COLUMN incarnation INTEGER NOT NULL DEFAULT 1;
INSERT INTO meta (key, value) VALUES ('incarnations', 1), ('history_incarnations', 0);
UPDATE dead_letters SET incarnation = 0
WHERE accepted_ms < (SELECT created_ms FROM tenants
                     WHERE tenants.id = dead_letters.tenant AND created_ms <= unixepoch() * 1000);

-- Whose data is kept for a while after the removal, or is being erased. A row stays a day longer than its data, since an
-- attempt that was under way may write after it.
CREATE TABLE removed_tenants (
    tenant      TEXT    NOT NULL,
    incarnation INTEGER NOT NULL,
    removed_ms  INTEGER NOT NULL,
    erase_ms    INTEGER NOT NULL,
    PRIMARY KEY (tenant, incarnation)
) STRICT, WITHOUT ROWID;

-- What each tenant has here: live jobs, and the bytes of the texts of jobs and dead letters.
CREATE TABLE job_usage (
    tenant      TEXT    NOT NULL,
    incarnation INTEGER NOT NULL,
    jobs        INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    PRIMARY KEY (tenant, incarnation)
) STRICT, WITHOUT ROWID;
INSERT INTO job_usage (tenant, incarnation, jobs, bytes)
SELECT tenant, incarnation, sum(live), sum(bytes)
FROM (SELECT tenant, incarnation, 1 AS live, octet_length(metadata) + octet_length(errors) AS bytes FROM jobs
      UNION ALL
      SELECT tenant, incarnation, 0, octet_length(metadata) + octet_length(errors) FROM dead_letters)
GROUP BY tenant, incarnation;

CREATE TRIGGER jobs_count_new AFTER INSERT ON jobs BEGIN
    INSERT INTO job_usage (tenant, incarnation, jobs, bytes)
    VALUES (new.tenant, new.incarnation, 1, octet_length(new.metadata) + octet_length(new.errors))
    ON CONFLICT DO UPDATE SET jobs = jobs + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER jobs_count_errors AFTER UPDATE OF errors ON jobs BEGIN
    UPDATE job_usage SET bytes = bytes + octet_length(new.errors) - octet_length(old.errors)
    WHERE tenant = new.tenant AND incarnation = new.incarnation;
END;
CREATE TRIGGER jobs_count_gone AFTER DELETE ON jobs BEGIN
    UPDATE job_usage SET jobs = jobs - 1, bytes = bytes - octet_length(old.metadata) - octet_length(old.errors)
    WHERE tenant = old.tenant AND incarnation = old.incarnation;
END;
CREATE TRIGGER dead_letters_count_new AFTER INSERT ON dead_letters BEGIN
    INSERT INTO job_usage (tenant, incarnation, jobs, bytes)
    VALUES (new.tenant, new.incarnation, 0, octet_length(new.metadata) + octet_length(new.errors))
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER dead_letters_count_gone AFTER DELETE ON dead_letters BEGIN
    UPDATE job_usage SET bytes = bytes - octet_length(old.metadata) - octet_length(old.errors)
    WHERE tenant = old.tenant AND incarnation = old.incarnation;
END;

-- For those that are given up by their age, and for a tenant's own.
CREATE INDEX dead_letters_died ON dead_letters (died_ms);
CREATE INDEX dead_letters_tenant ON dead_letters (tenant, incarnation);

-- How often the host was cut off while the job ran, and how often while it ran alone and had just begun. When it began.
ALTER TABLE jobs ADD COLUMN cut_off INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN cut_off_alone INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN began_ms INTEGER NOT NULL DEFAULT 0;
-- A claim leaves out those that were cut off twice, and still reads nothing but its index.
DROP INDEX jobs_due;
CREATE INDEX jobs_due ON jobs (slot, tenant, due_ms, accepted_ms, cut_off);
CREATE INDEX jobs_suspect ON jobs (cut_off_alone, due_ms) WHERE cut_off >= 2;
