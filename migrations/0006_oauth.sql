-- Access tokens of OAuth clients (rows of api_keys of kind 'oauth'): short-lived, kept as hashes, gone with their client.

CREATE TABLE access_tokens (
  token_sha256 TEXT PRIMARY KEY,
  client_id    TEXT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
  scopes       TEXT NOT NULL CHECK (json_valid(scopes)),
  created_at   TEXT NOT NULL,
  expires_at   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX access_tokens_by_client ON access_tokens (client_id, created_at);
CREATE INDEX access_tokens_by_end ON access_tokens (expires_at);
