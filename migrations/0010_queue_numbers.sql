-- How many tasks of each priority wait is asked with every look at the queue: counted in an index, not in the table.
CREATE INDEX tasks_pending_by_priority ON tasks (priority) WHERE status = 'pending';
