-- Who may do what, what was answered, what came in: keys, idempotent answers, receipts, usage, connector states.

CREATE TABLE api_keys (
  id           TEXT PRIMARY KEY,
  name         TEXT NOT NULL,
  key_sha256   TEXT NOT NULL UNIQUE,
  hint         TEXT NOT NULL, -- the first characters, so that a person can tell keys apart
  scopes       TEXT NOT NULL CHECK (json_valid(scopes)),
  kind         TEXT NOT NULL DEFAULT 'api' CHECK (kind IN ('api', 'oauth')),
  created_at   TEXT NOT NULL,
  last_used_at TEXT,
  expires_at   TEXT,
  revoked_at   TEXT
) STRICT;

CREATE TABLE idempotency_keys (
  principal    TEXT NOT NULL,
  key          TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  status       INTEGER NOT NULL,
  headers      TEXT NOT NULL CHECK (json_valid(headers)),
  body         BLOB NOT NULL,
  created_at   TEXT NOT NULL,
  PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency_keys (created_at);

CREATE TABLE webhook_receipts (
  id           TEXT PRIMARY KEY,
  service      TEXT NOT NULL,
  dedup_key    TEXT, -- the provider's delivery id, else a hash of the body; NULL for rejected ones
  status       TEXT NOT NULL CHECK (status IN ('accepted', 'processed', 'ignored', 'failed', 'rejected')),
  reason       TEXT,
  event_type   TEXT,
  event_id     TEXT,
  task_id      TEXT,
  headers      TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(headers)),
  body         BLOB,
  body_bytes   INTEGER NOT NULL DEFAULT 0,
  answer       TEXT CHECK (answer IS NULL OR json_valid(answer)),
  duplicates   INTEGER NOT NULL DEFAULT 0,
  remote       TEXT,
  received_at  TEXT NOT NULL,
  processed_at TEXT,
  UNIQUE (service, dedup_key)
) STRICT;
CREATE INDEX receipts_by_time ON webhook_receipts (received_at, id);
CREATE INDEX receipts_waiting ON webhook_receipts (received_at, id) WHERE status = 'accepted';

CREATE TABLE webhook_counts (
  service TEXT NOT NULL,
  outcome TEXT NOT NULL, -- accepted, duplicate, or rejected:<reason>
  n       INTEGER NOT NULL,
  PRIMARY KEY (service, outcome)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_usage (
  day         TEXT NOT NULL, -- 2026-02-01, UTC
  key_id      TEXT NOT NULL,
  endpoint    TEXT NOT NULL, -- "GET /api/v1/tasks/{id}"
  requests    INTEGER NOT NULL DEFAULT 0,
  errors_4xx  INTEGER NOT NULL DEFAULT 0,
  errors_5xx  INTEGER NOT NULL DEFAULT 0,
  duration_us INTEGER NOT NULL DEFAULT 0,
  bytes_out   INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (day, key_id, endpoint)
) STRICT, WITHOUT ROWID;

CREATE TABLE connectors (
  name              TEXT PRIMARY KEY,
  breaker           TEXT NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'disabled')),
  reason            TEXT,
  failures          INTEGER NOT NULL DEFAULT 0, -- in a row
  opened_at         TEXT,
  probe_at          TEXT,
  probes            INTEGER NOT NULL DEFAULT 0,
  paused            INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
  paused_by         TEXT,
  held_until        TEXT, -- the service asked for quiet (429)
  last_delivered_at TEXT,
  last_error        TEXT,
  last_error_at     TEXT,
  updated_at        TEXT NOT NULL
) STRICT;

CREATE TABLE jobs (
  id           TEXT PRIMARY KEY,
  kind         TEXT NOT NULL CHECK (kind IN ('replay', 'prune')),
  state        TEXT NOT NULL CHECK (state IN ('running', 'done', 'cancelled')),
  parameters   TEXT NOT NULL CHECK (json_valid(parameters)),
  total        INTEGER NOT NULL,
  done         INTEGER NOT NULL DEFAULT 0,
  last_id      INTEGER NOT NULL DEFAULT 0,
  created_by   TEXT NOT NULL,
  created_at   TEXT NOT NULL,
  updated_at   TEXT NOT NULL
) STRICT;
