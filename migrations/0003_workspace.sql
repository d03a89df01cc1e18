-- What has been read from RALF's files. Records of events.yaml have no id: their content is their name.

CREATE TABLE workspace_records (
  fingerprint TEXT PRIMARY KEY,
  type        TEXT NOT NULL,    -- as the file says it
  recorded    INTEGER NOT NULL, -- how often it was taken over: the most that ever stood in the file at once
  standing    INTEGER NOT NULL, -- how often it stands there now, counted in `generation`
  generation  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the files said of each task when they were last read: only what changed there since changes the task here.
CREATE TABLE workspace_tasks (
  task_id TEXT PRIMARY KEY,
  status  TEXT NOT NULL,
  digest  TEXT NOT NULL,
  told    TEXT -- an event told because a folder moved, which the record RALF writes of it must not repeat
) STRICT, WITHOUT ROWID;

CREATE TABLE workspace_features (
  feature_id TEXT PRIMARY KEY,
  digest     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workspace_state (
  key   TEXT PRIMARY KEY, -- "imported" and "events": per workspace, where the reading stands
  value TEXT NOT NULL CHECK (json_valid(value))
) STRICT;

-- The key comes first: SQLite 3.40's integrity_check finds NULLs that are not there in a table without rowid otherwise.
CREATE TABLE workspace_problems (
  file    TEXT NOT NULL,
  line    INTEGER NOT NULL, -- 0: the whole file is meant
  message TEXT NOT NULL,
  area    TEXT NOT NULL CHECK (area IN ('events', 'files')),
  PRIMARY KEY (file, line, message)
) STRICT, WITHOUT ROWID;

CREATE TABLE workspace_counts (
  name TEXT PRIMARY KEY, -- tasks, events, queue, features, tasks.pending, events.agent_stop, ...
  n    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
