-- Tenants from before there was a choice have ServiceDesk Plus.
ALTER TABLE tenants ADD COLUMN tool_type TEXT NOT NULL DEFAULT 'servicedesk_plus';
