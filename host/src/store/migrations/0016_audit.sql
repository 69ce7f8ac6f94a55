-- The tenant that an entry is about, and which one of its id: the entry goes when what is stored for that tenant is erased.
-- An entry with a tenant but without its number says that one was removed, and stays.
ALTER TABLE plugin_events ADD COLUMN tenant TEXT;
ALTER TABLE plugin_events ADD COLUMN incarnation INTEGER;
CREATE INDEX plugin_events_by_tenant ON plugin_events (tenant, incarnation) WHERE tenant IS NOT NULL;
