-- Writing back: what the files say field by field, where a task stands in RALF's own order, and what RALF never takes.

ALTER TABLE workspace_tasks ADD COLUMN said TEXT CHECK (said IS NULL OR json_valid(said)); -- a digest per field

-- A queue entry's place, and the most urgent priority from it on: RALF takes its list in order, so what stands before
-- an urgent task is as urgent. NULL: not in queue.yaml.
ALTER TABLE tasks ADD COLUMN queue_rank INTEGER;
ALTER TABLE tasks ADD COLUMN queue_priority INTEGER CHECK (queue_priority BETWEEN 0 AND 3);
-- 1: its folder (improvements/) is one RALF takes nothing from.
ALTER TABLE tasks ADD COLUMN shelved INTEGER NOT NULL DEFAULT 0 CHECK (shelved IN (0, 1));

ALTER TABLE tasks ADD COLUMN take_priority INTEGER NOT NULL GENERATED ALWAYS AS
  (coalesce(queue_priority, CASE priority WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'medium' THEN 2 ELSE 3 END)) VIRTUAL;
ALTER TABLE tasks ADD COLUMN take_place INTEGER NOT NULL GENERATED ALWAYS AS (coalesce(queue_rank, 9223372036854775807)) VIRTUAL;

DROP INDEX tasks_queue;
CREATE INDEX tasks_queue ON tasks (take_priority, take_place, created_at, id) WHERE status = 'pending' AND shelved = 0;
CREATE INDEX tasks_in_queue ON tasks (queue_rank) WHERE queue_rank IS NOT NULL;
CREATE INDEX tasks_shelved ON tasks (id) WHERE shelved = 1;
