-- Times are microseconds since 1970 UTC. A run is known outside by its id; inside by the small
-- number n, which keeps every index and the log four times faster than text keys did (measured).
-- Large columns come last, so that reading the others does not touch their pages.

CREATE TABLE runs (
  n INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  agent TEXT NOT NULL,
  queue TEXT NOT NULL,
  tenant TEXT NOT NULL,
  priority INTEGER NOT NULL,
  state TEXT NOT NULL,
  blocked_by TEXT,                 -- 'session' or 'cap', while blocked
  head INTEGER NOT NULL DEFAULT 0, -- 1 while it holds its session (L4)
  epoch INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER NOT NULL,
  session TEXT,
  cap TEXT,
  cap_limit INTEGER,
  worker TEXT,
  reserved_by TEXT,                -- must be alone and is kept for this worker (L6)
  alone INTEGER NOT NULL DEFAULT 0,
  strikes INTEGER NOT NULL DEFAULT 0,
  strikes_seq INTEGER NOT NULL DEFAULT 0,
  gone INTEGER NOT NULL DEFAULT 1, -- 0 once an attempt was orphaned whose process may live (L5)
  cancel_requested INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER,
  dismissed_at INTEGER,            -- a dead letter that an operator has put aside
  ready_at INTEGER,
  wake_at INTEGER,
  deadline_at INTEGER,
  watched_until INTEGER NOT NULL DEFAULT 0,
  idempotency_window INTEGER,      -- null for a run without an idempotency key
  depth INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  since INTEGER NOT NULL DEFAULT 0, -- the log's number after which this generation's journal begins
  parent TEXT,
  parent_key BLOB,
  trace TEXT,
  waits TEXT NOT NULL DEFAULT '[]',
  labels TEXT NOT NULL DEFAULT '{}',
  error BLOB,
  result BLOB,
  input BLOB
);

-- What a claim walks. Blocked and reserved runs are not in it, so claims stay flat.
CREATE INDEX runs_ready ON runs (queue, priority DESC, tenant, ready_at, n)
  WHERE state = 'queued' AND reserved_by IS NULL;
CREATE INDEX runs_reserved ON runs (reserved_by) WHERE reserved_by IS NOT NULL;
CREATE INDEX runs_leased ON runs (worker) WHERE worker IS NOT NULL;
CREATE INDEX runs_timers ON runs (wake_at) WHERE state = 'waiting' AND wake_at IS NOT NULL;
CREATE INDEX runs_capped ON runs (cap, priority DESC, n)
  WHERE state = 'blocked' AND blocked_by = 'cap';
CREATE INDEX runs_sessions ON runs (tenant, session, n)
  WHERE session IS NOT NULL AND parent IS NULL AND finished_at IS NULL;
-- The guarantee behind L4: two runs never hold one session.
CREATE UNIQUE INDEX runs_session_head ON runs (tenant, session) WHERE head = 1;
CREATE INDEX runs_children ON runs (parent) WHERE parent IS NOT NULL;
CREATE INDEX runs_by_state ON runs (state, queue);
CREATE INDEX runs_generations ON runs (n) WHERE since > 0;
-- Which blobs are referenced: a value that begins with this byte is a reference (perdure.codec).
CREATE INDEX runs_blob_inputs ON runs (input) WHERE substr(input, 1, 1) = x'01';
CREATE INDEX runs_blob_results ON runs (result) WHERE substr(result, 1, 1) = x'01';

CREATE TABLE slots (
  cap TEXT NOT NULL,
  run INTEGER NOT NULL REFERENCES runs (n) ON DELETE CASCADE,
  PRIMARY KEY (cap, run)
) WITHOUT ROWID;

-- Journal and event log in one. Rows are only ever added. No foreign key: it would delete all rows
-- of a run at once with it, and hold everyone up (see leftovers).
CREATE TABLE log (
  run INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  at INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  type TEXT NOT NULL,
  key BLOB,
  scope BLOB,
  branch TEXT,
  after BLOB,
  kind TEXT,
  name TEXT,
  digest BLOB,
  occurrence INTEGER,
  promise TEXT,
  state TEXT,
  took_ms INTEGER,
  value BLOB,
  request BLOB,
  PRIMARY KEY (run, seq)
);
CREATE INDEX log_blobs ON log (value) WHERE substr(value, 1, 1) = x'01';

CREATE TABLE signals (
  run INTEGER NOT NULL REFERENCES runs (n) ON DELETE CASCADE,
  n INTEGER NOT NULL,
  name TEXT NOT NULL,
  at INTEGER NOT NULL,
  dedupe TEXT,
  read INTEGER NOT NULL DEFAULT 0, -- 1 once a generation that took it is over
  payload BLOB NOT NULL,
  PRIMARY KEY (run, n)
);
CREATE INDEX signals_blobs ON signals (payload) WHERE substr(payload, 1, 1) = x'01';
CREATE UNIQUE INDEX signals_dedupe ON signals (run, dedupe) WHERE dedupe IS NOT NULL;

CREATE TABLE idempotency (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  key TEXT NOT NULL,
  body BLOB NOT NULL,
  run INTEGER NOT NULL REFERENCES runs (n) ON DELETE CASCADE,
  expires_at INTEGER,              -- null while the run is not final (X3)
  PRIMARY KEY (tenant, agent, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_run ON idempotency (run);
CREATE INDEX idempotency_expiry ON idempotency (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE messages (
  run INTEGER NOT NULL,
  node BLOB NOT NULL,
  parent BLOB NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (run, node)
);

-- Runs that are to be deleted with all they have, a little at a time. Their numbers are not given
-- to other runs before nothing is left of them.
CREATE TABLE leftovers (
  run INTEGER PRIMARY KEY
);

CREATE TABLE workers (
  id TEXT PRIMARY KEY,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  version TEXT NOT NULL,
  queues TEXT NOT NULL,
  lease INTEGER NOT NULL,
  joined_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE leader (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  worker TEXT NOT NULL,
  until INTEGER NOT NULL
);

CREATE TABLE agents (
  name TEXT PRIMARY KEY,
  queue TEXT NOT NULL,
  framework TEXT NOT NULL,
  description TEXT NOT NULL,
  input_schema TEXT,
  durability TEXT NOT NULL,
  intake TEXT NOT NULL,             -- JSON: what a new run takes over from the agent's policy
  announced_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE keys (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  hash BLOB NOT NULL,
  scopes TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  last_used_at INTEGER,
  revoked_at INTEGER
) WITHOUT ROWID;
