-- What the gateway keeps: small documents that all workers share, the ledger, answers of models.

CREATE TABLE shared (
  key TEXT PRIMARY KEY NOT NULL,
  version INTEGER NOT NULL,
  body BLOB NOT NULL
);

-- One row for each contact with a provider. It is kept on its own, longer than runs, and so knows
-- them by their ids.
CREATE TABLE charges (
  n INTEGER PRIMARY KEY,
  run_id TEXT NOT NULL,            -- empty: of no run
  id BLOB NOT NULL,
  at INTEGER NOT NULL,
  key BLOB,
  agent TEXT NOT NULL,
  step TEXT NOT NULL,
  feature TEXT NOT NULL,
  tenant TEXT NOT NULL,
  session TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  credential TEXT NOT NULL,
  target TEXT NOT NULL,
  route TEXT NOT NULL,
  why TEXT NOT NULL,
  source TEXT NOT NULL,
  priced TEXT NOT NULL,
  calls INTEGER NOT NULL,
  input INTEGER NOT NULL,
  output INTEGER NOT NULL,
  cache_read INTEGER NOT NULL,
  cache_write INTEGER NOT NULL,
  reasoning INTEGER NOT NULL,
  cost INTEGER NOT NULL,           -- nano-dollars, as is `saved`
  saved INTEGER NOT NULL,
  took_ms INTEGER NOT NULL
);
-- Runs are named by time: new rows of the index lie side by side, and a run's are found by it.
CREATE UNIQUE INDEX charges_id ON charges (run_id, id);
CREATE INDEX charges_at ON charges (at);
CREATE INDEX charges_agent ON charges (agent, at);
CREATE INDEX charges_tenant ON charges (tenant, at) WHERE tenant <> '';

-- Answers that are kept for others who ask the same.
CREATE TABLE answers (
  key BLOB PRIMARY KEY NOT NULL,
  expires INTEGER NOT NULL,
  value BLOB NOT NULL
);
CREATE INDEX answers_expires ON answers (expires);
