-- What has been decided about a tool type, and what has served it: one JSON document each, which the plugin manager reads
-- whole and replaces whole.
CREATE TABLE plugin_records (
    tool_type TEXT NOT NULL PRIMARY KEY,
    record    TEXT NOT NULL
) STRICT;
