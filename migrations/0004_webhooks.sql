-- Webhooks in: what an operator is told of a rejected call, quick look-ups, and how many tasks a service may have open.

ALTER TABLE webhook_receipts ADD COLUMN hint TEXT; -- for the operator, never shown to the sender

-- Acting is part of the commit that stores a receipt, so none ever waits.
DROP INDEX receipts_waiting;
CREATE INDEX receipts_by_service ON webhook_receipts (service, status, received_at, id);
CREATE INDEX receipts_rejected ON webhook_receipts (received_at, id) WHERE status = 'rejected';

-- A webhook names what it is about by its key or URL as well.
CREATE INDEX links_by_key ON links (external_key) WHERE external_key IS NOT NULL;
CREATE INDEX links_by_url ON links (url) WHERE url IS NOT NULL;

-- The tasks that services with a `max_concurrent` made and that have not ended for good.
CREATE TABLE webhook_tasks (
  task_id TEXT PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
  service TEXT NOT NULL,
  held    INTEGER NOT NULL CHECK (held IN (0, 1)) -- 1: blocked until the service may have one more
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_tasks_by_service ON webhook_tasks (service, held);
