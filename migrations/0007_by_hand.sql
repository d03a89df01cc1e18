-- What people write by hand is taken as well as what the hub writes: rows put into the outbox, tasks that are changed.

-- As outbox_due_rewritten does for what is changed: times are compared as text, so they are written as the hub's.
CREATE TRIGGER outbox_due_written AFTER INSERT ON outbox
WHEN new.next_attempt_at NOT GLOB '????-??-??T??:??:??.???Z' AND julianday(new.next_attempt_at) IS NOT NULL BEGIN
  UPDATE outbox SET next_attempt_at = strftime('%Y-%m-%dT%H:%M:%fZ', new.next_attempt_at) WHERE id = new.id;
END;
CREATE TRIGGER outbox_creation_written AFTER INSERT ON outbox
WHEN new.created_at NOT GLOB '????-??-??T??:??:??.???Z' AND julianday(new.created_at) IS NOT NULL BEGIN
  UPDATE outbox SET created_at = strftime('%Y-%m-%dT%H:%M:%fZ', new.created_at) WHERE id = new.id;
END;

-- The hub raises the version itself; a change that does not is someone else's. Without it an ETag would stay that of
-- the task before, and a lost update would pass for a good one.
CREATE TRIGGER tasks_changed_by_hand AFTER UPDATE OF title, description, status, priority, type, feature_id, parent_id,
  depends_on, progress, assignee, result, error, metadata ON tasks
WHEN new.version = old.version BEGIN
  UPDATE tasks
  SET version = version + 1, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
      completed_at = iif(status = 'completed', coalesce(completed_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), completed_at)
  WHERE id = new.id;
END;
CREATE TRIGGER tasks_wait_by_hand AFTER UPDATE OF depends_on ON tasks WHEN new.version = old.version BEGIN
  DELETE FROM task_dependencies WHERE task_id = new.id;
  INSERT OR IGNORE INTO task_dependencies SELECT new.id, value FROM json_each(new.depends_on) WHERE type = 'text';
END;
