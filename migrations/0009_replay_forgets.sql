-- A delivery that is due again says nothing any more of why it was dead or cancelled; its attempts still do.

CREATE TRIGGER outbox_replay_forgets AFTER UPDATE OF state ON outbox
WHEN old.state <> 'pending' AND new.state = 'pending' AND new.last_error IS old.last_error BEGIN
  UPDATE outbox SET last_error = NULL WHERE id = new.id;
END;
