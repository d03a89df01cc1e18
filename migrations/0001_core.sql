-- The hub's tables: tasks and features, events, the outbox with its attempts, links.
-- Times are ISO-8601 UTC text with milliseconds (sorts as time does). JSON columns hold valid JSON.

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

CREATE TABLE tasks (
  id               TEXT PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 128),
  title            TEXT NOT NULL,
  description      TEXT NOT NULL DEFAULT '',
  status           TEXT NOT NULL DEFAULT 'pending'
                   CHECK (status IN ('pending', 'in_progress', 'blocked', 'completed', 'failed', 'cancelled')),
  priority         TEXT NOT NULL DEFAULT 'medium' CHECK (priority IN ('critical', 'high', 'medium', 'low')),
  priority_rank    INTEGER NOT NULL GENERATED ALWAYS AS
                   (CASE priority WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'medium' THEN 2 ELSE 3 END) VIRTUAL,
  type             TEXT,
  feature_id       TEXT,
  parent_id        TEXT,
  depends_on       TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(depends_on)),
  progress         INTEGER NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
  assignee         TEXT,
  result           TEXT CHECK (result IS NULL OR json_valid(result)),
  error            TEXT,
  metadata         TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
  source           TEXT NOT NULL DEFAULT 'api',
  version          INTEGER NOT NULL DEFAULT 1,
  created_at       TEXT NOT NULL,
  updated_at       TEXT NOT NULL,
  started_at       TEXT,
  completed_at     TEXT,
  lease_expires_at TEXT
) STRICT;

CREATE INDEX tasks_by_creation ON tasks (created_at, id);
CREATE INDEX tasks_by_status ON tasks (status, created_at, id);
CREATE INDEX tasks_by_feature ON tasks (feature_id, created_at, id) WHERE feature_id IS NOT NULL;
CREATE INDEX tasks_by_completion ON tasks (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX tasks_queue ON tasks (priority_rank, created_at, id) WHERE status = 'pending';
CREATE INDEX tasks_leased ON tasks (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

-- One row per dependency, kept beside tasks.depends_on so that the queue never parses JSON.
CREATE TABLE task_dependencies (
  task_id    TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  depends_on TEXT NOT NULL,
  PRIMARY KEY (task_id, depends_on)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_dependants ON task_dependencies (depends_on, task_id);

CREATE TABLE features (
  id           TEXT PRIMARY KEY,
  title        TEXT NOT NULL,
  status       TEXT NOT NULL DEFAULT 'planned',
  priority     TEXT NOT NULL DEFAULT 'medium' CHECK (priority IN ('critical', 'high', 'medium', 'low')),
  description  TEXT NOT NULL DEFAULT '',
  source       TEXT NOT NULL DEFAULT 'workspace',
  metadata     TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
  created_at   TEXT NOT NULL,
  updated_at   TEXT NOT NULL,
  delivered_at TEXT
) STRICT;

CREATE TABLE events (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  id          TEXT NOT NULL UNIQUE,
  type        TEXT NOT NULL,
  source      TEXT NOT NULL,
  task_id     TEXT,
  occurred_at TEXT NOT NULL,
  recorded_at TEXT NOT NULL,
  data        TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(data)),
  routed      TEXT CHECK (routed IS NULL OR json_valid(routed)) -- the connectors it went to; NULL: history, told to nobody
) STRICT;
CREATE INDEX events_by_task ON events (task_id, seq) WHERE task_id IS NOT NULL;
CREATE INDEX events_by_type ON events (type, seq);

CREATE TABLE outbox (
  id               INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id         TEXT NOT NULL,
  event_seq        INTEGER NOT NULL,
  event_type       TEXT NOT NULL,
  task_id          TEXT,
  connector        TEXT NOT NULL,
  action           TEXT NOT NULL,
  lane             TEXT, -- deliveries of one connector and lane go one after the other; NULL waits for nobody
  payload          TEXT NOT NULL CHECK (json_valid(payload)),
  state            TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead', 'cancelled')),
  attempts         INTEGER NOT NULL DEFAULT 0,
  next_attempt_at  TEXT NOT NULL, -- 9999-12-31T23:59:59.999Z: when the one before it in its lane is done
  first_attempt_at TEXT, -- set before a creating action is first sent: from then on it may exist outside
  last_outcome     TEXT,
  last_error       TEXT,
  created_at       TEXT NOT NULL,
  delivered_at     TEXT,
  replayed_at      TEXT,
  UNIQUE (event_id, connector, action)
) STRICT;
CREATE INDEX outbox_due ON outbox (connector, next_attempt_at, id) WHERE state = 'pending';
CREATE INDEX outbox_lane ON outbox (connector, lane, id) WHERE state = 'pending' AND lane IS NOT NULL;
CREATE INDEX outbox_by_task ON outbox (task_id, id) WHERE task_id IS NOT NULL;
CREATE INDEX outbox_by_connector ON outbox (connector, id);
CREATE INDEX outbox_undelivered ON outbox (state, id, connector) WHERE state <> 'delivered';
CREATE INDEX outbox_done ON outbox (delivered_at) WHERE delivered_at IS NOT NULL;

CREATE TABLE attempts (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  delivery_id INTEGER NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
  started_at  TEXT NOT NULL,
  duration_ms INTEGER NOT NULL,
  outcome     TEXT NOT NULL,
  status_code INTEGER,
  error       TEXT,
  response    TEXT
) STRICT;
CREATE INDEX attempts_by_delivery ON attempts (delivery_id, id);

CREATE TABLE links (
  connector    TEXT NOT NULL,
  entity_type  TEXT NOT NULL CHECK (entity_type IN ('task', 'feature', 'alert')),
  entity_id    TEXT NOT NULL,
  external_id  TEXT,
  external_key TEXT,
  url          TEXT,
  state        TEXT NOT NULL CHECK (state IN ('creating', 'linked', 'ambiguous', 'broken')),
  last_state   TEXT,
  marker       TEXT NOT NULL,
  created_at   TEXT NOT NULL,
  updated_at   TEXT NOT NULL,
  PRIMARY KEY (connector, entity_type, entity_id),
  UNIQUE (connector, external_id)
) STRICT;
CREATE INDEX links_by_entity ON links (entity_type, entity_id);

-- Counts are kept by triggers: numbers for people never scan a table, and hand-written SQL keeps them right too.
CREATE TABLE task_counts (
  status TEXT PRIMARY KEY,
  n      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tasks_counted_in AFTER INSERT ON tasks BEGIN
  INSERT INTO task_counts VALUES (new.status, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER tasks_counted_out AFTER DELETE ON tasks BEGIN
  UPDATE task_counts SET n = n - 1 WHERE status = old.status;
END;
CREATE TRIGGER tasks_counted_over AFTER UPDATE OF status ON tasks WHEN old.status <> new.status BEGIN
  UPDATE task_counts SET n = n - 1 WHERE status = old.status;
  INSERT INTO task_counts VALUES (new.status, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TABLE outbox_counts (
  connector TEXT NOT NULL,
  state     TEXT NOT NULL,
  n         INTEGER NOT NULL,
  PRIMARY KEY (connector, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER outbox_counted_in AFTER INSERT ON outbox BEGIN
  INSERT INTO outbox_counts VALUES (new.connector, new.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER outbox_counted_out AFTER DELETE ON outbox BEGIN
  UPDATE outbox_counts SET n = n - 1 WHERE connector = old.connector AND state = old.state;
END;
CREATE TRIGGER outbox_counted_over AFTER UPDATE OF state, connector ON outbox
WHEN old.state <> new.state OR old.connector <> new.connector BEGIN
  UPDATE outbox_counts SET n = n - 1 WHERE connector = old.connector AND state = old.state;
  INSERT INTO outbox_counts VALUES (new.connector, new.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;

-- A delivery made pending again by anyone, hand-written SQL included, starts over with all its attempts before it.
CREATE TRIGGER outbox_replayed AFTER UPDATE OF state ON outbox WHEN old.state <> 'pending' AND new.state = 'pending' BEGIN
  UPDATE outbox
  SET attempts = 0, delivered_at = NULL,
      next_attempt_at = iif(new.next_attempt_at = '9999-12-31T23:59:59.999Z', created_at, new.next_attempt_at),
      replayed_at = iif(new.replayed_at IS NOT old.replayed_at, new.replayed_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
  WHERE id = new.id;
END;

-- Times that SQLite understands but that are not written as the hub's (datetime('now'), say) are written anew: they are
-- compared as text. What is no time at all is refused by NOT NULL.
CREATE TRIGGER outbox_due_rewritten AFTER UPDATE OF next_attempt_at ON outbox
WHEN new.next_attempt_at NOT GLOB '????-??-??T??:??:??.???Z' BEGIN
  UPDATE outbox SET next_attempt_at = strftime('%Y-%m-%dT%H:%M:%fZ', new.next_attempt_at) WHERE id = new.id;
END;

-- Lanes: only the first pending delivery of a lane is due at some time, those behind it wait. When it is done, taken
-- away or moved, whoever does it, the next one is due. So nobody ever looks at a lane's whole length.
CREATE TRIGGER outbox_lane_moves_on AFTER UPDATE OF state ON outbox
WHEN old.state = 'pending' AND new.state <> 'pending' AND new.lane IS NOT NULL BEGIN
  UPDATE outbox SET next_attempt_at = created_at
  WHERE next_attempt_at = '9999-12-31T23:59:59.999Z'
    AND id = (SELECT id FROM outbox INDEXED BY outbox_lane
              WHERE state = 'pending' AND connector = new.connector AND lane = new.lane ORDER BY id LIMIT 1);
END;
CREATE TRIGGER outbox_lane_shortened AFTER DELETE ON outbox WHEN old.state = 'pending' AND old.lane IS NOT NULL BEGIN
  UPDATE outbox SET next_attempt_at = created_at
  WHERE next_attempt_at = '9999-12-31T23:59:59.999Z'
    AND id = (SELECT id FROM outbox INDEXED BY outbox_lane
              WHERE state = 'pending' AND connector = old.connector AND lane = old.lane ORDER BY id LIMIT 1);
END;
CREATE TRIGGER outbox_lane_changed AFTER UPDATE OF connector, lane ON outbox WHEN new.state = 'pending' BEGIN
  UPDATE outbox SET next_attempt_at = created_at
  WHERE next_attempt_at = '9999-12-31T23:59:59.999Z'
    AND (id = (SELECT id FROM outbox INDEXED BY outbox_lane
               WHERE state = 'pending' AND connector = old.connector AND lane = old.lane ORDER BY id LIMIT 1)
         OR id = (SELECT id FROM outbox INDEXED BY outbox_lane
                  WHERE state = 'pending' AND connector = new.connector AND lane = new.lane ORDER BY id LIMIT 1)
         OR (id = new.id AND new.lane IS NULL));
END;

-- Views for people with sqlite3 in hand.
CREATE VIEW v_outbox_due AS
  SELECT id, connector, action, event_type, task_id, attempts, next_attempt_at, last_error, created_at
  FROM outbox
  WHERE state = 'pending' AND next_attempt_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
  ORDER BY next_attempt_at, id;

CREATE VIEW v_dead_letters AS
  SELECT o.id, o.connector, o.action, o.event_type, o.task_id, o.attempts, o.last_error, o.created_at,
         (SELECT max(a.started_at) FROM attempts a WHERE a.delivery_id = o.id) AS last_attempt_at
  FROM outbox o
  WHERE o.state = 'dead' AND o.state <> 'delivered' -- which lets SQLite use the small index of what is not delivered
  ORDER BY o.id DESC;

CREATE VIEW v_lag AS
  SELECT connector, count(*) AS pending, min(created_at) AS oldest_created_at, min(next_attempt_at) AS next_attempt_at,
         round((julianday('now') - julianday(min(created_at))) * 86400.0, 3) AS oldest_pending_age_s
  FROM outbox
  WHERE state = 'pending'
  GROUP BY connector;

CREATE VIEW v_delivery_log AS
  SELECT a.id AS attempt_id, a.started_at, o.id AS delivery_id, o.connector, o.action, o.event_type, o.task_id,
         a.outcome, a.status_code, a.duration_ms, a.error, o.state
  FROM attempts a
  JOIN outbox o ON o.id = a.delivery_id
  ORDER BY a.id DESC;
