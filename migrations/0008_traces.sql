-- The trace an event belongs to, where traces are kept: a delivery goes on with it, also after a restart.
-- As https://www.w3.org/TR/trace-context/#traceparent-header writes it.

ALTER TABLE events ADD COLUMN traceparent TEXT;
