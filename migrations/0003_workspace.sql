-- What has been read from RALF's files: each record by its content, each file by what it looked like.

CREATE TABLE workspace_records (
  fingerprint TEXT PRIMARY KEY,
  seen        INTEGER NOT NULL -- how often it has stood in the file at once
) STRICT, WITHOUT ROWID;

CREATE TABLE workspace_files (
  path     TEXT PRIMARY KEY,
  kind     TEXT NOT NULL,
  state    TEXT NOT NULL CHECK (json_valid(state)),
  read_at  TEXT NOT NULL
) STRICT;

CREATE TABLE workspace_problems (
  file    TEXT NOT NULL,
  line    INTEGER NOT NULL,
  message TEXT NOT NULL,
  PRIMARY KEY (file, line, message)
) STRICT, WITHOUT ROWID;

CREATE TABLE workspace_counts (
  name TEXT PRIMARY KEY, -- tasks, events, queue, features, tasks.pending, events.agent_stop, ...
  n    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
