//! What is remembered of each tool type between runs: a document that only the plugin manager can read.

use rusqlite::params;

use super::{Store, StoreError};

impl Store {
    /// All documents, each with its tool type.
    pub async fn plugin_records(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.inner
            .main_reads
            .read(|connection| {
                connection
                    .prepare_cached("SELECT tool_type, record FROM plugin_records ORDER BY tool_type")?
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .await
    }

    /// Stores a document, replacing the previous one.
    pub async fn keep_plugin_record(&self, tool_type: String, record: String) -> Result<(), StoreError> {
        self.inner
            .main
            .apply(move |connection| {
                connection
                    .prepare_cached("INSERT OR REPLACE INTO plugin_records (tool_type, record) VALUES (?1, ?2)")?
                    .execute(params![tool_type, record])?;
                Ok(())
            })
            .await
    }
}
