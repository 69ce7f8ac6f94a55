CREATE TABLE tenant_secrets (
    tenant     TEXT    NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL, -- part of what the record is sealed with; only ever rises
    record     BLOB    NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,          -- set when a newer version has taken its place
    PRIMARY KEY (tenant, name, version)
) STRICT, WITHOUT ROWID;
