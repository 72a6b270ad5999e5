-- Everything is in the schema perdure and named with it, whatever the search path. Times are
-- those of perdure.clock(), taken after the locks. Columns that a database often changes are in
-- as few indexes as possible; a partial index is chosen by a column that no other index has, so
-- that its plans do not depend on statistics.

-- The server's clock, unless a test moved this connection's.
create function perdure.clock() returns timestamptz language sql volatile as $$
  select clock_timestamp()
    + coalesce(nullif(current_setting('perdure.clock_shift', true), ''), '0')::interval
$$;

create table perdure.runs (
  id uuid primary key,
  -- Runs by age. Taken under the session's lock, so it orders a session.
  n bigint generated always as identity,
  agent text not null,
  queue text not null,
  tenant text not null,
  priority int not null,
  state text not null,
  blocked_by text,                    -- 'session' or 'cap', while blocked
  head boolean not null default false, -- while it holds its session (L4)
  epoch int not null default 0,
  attempts int not null default 0,
  max_attempts int not null,
  session text,
  cap text,
  cap_limit int,
  worker text,
  reserved_by text,                   -- must be alone and is kept for this worker (L6)
  -- Claims walk these alone: blocked and reserved runs do not slow them down.
  open boolean not null generated always as (state = 'queued' and reserved_by is null) stored,
  alone boolean not null default false,
  strikes int not null default 0,
  strikes_seq int not null default 0,
  gone boolean not null default true, -- false once an attempt was orphaned that may live (L5)
  cancel_requested boolean not null default false,
  created_at timestamptz not null,
  started_at timestamptz,
  finished_at timestamptz,
  dismissed_at timestamptz,           -- a dead letter that an operator has put aside
  ready_at timestamptz,
  wake_at timestamptz,                -- only while waiting
  deadline_at timestamptz,
  watched_until timestamptz not null default '-infinity',
  idempotency_window interval,        -- null for a run without an idempotency key
  depth int not null,
  generation int not null,
  since int not null default 0,       -- the log's number after which its journal begins
  parent uuid,
  parent_key bytea,
  trace text,
  waits jsonb not null default '[]',
  labels jsonb not null default '{}',
  error bytea,
  result bytea,
  input bytea
) with (
  fillfactor = 70,
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
  autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1
);
alter table perdure.runs alter input set storage external, alter result set storage external,
  alter error set storage external;

create index runs_open on perdure.runs (queue, priority desc, tenant, ready_at, n) where open;
create index runs_reserved on perdure.runs (reserved_by) where reserved_by is not null;
create index runs_leased on perdure.runs (worker) where worker is not null;
create index runs_timers on perdure.runs (wake_at) where wake_at is not null;
create index runs_capped on perdure.runs (cap, priority desc, n) where blocked_by = 'cap';
create index runs_sessions on perdure.runs (tenant, session, n)
  where session is not null and parent is null and finished_at is null;
-- The guarantee behind L3 and L4: two runs never hold one session.
create unique index runs_session_head on perdure.runs (tenant, session) where head;
create index runs_children on perdure.runs (parent, n) where parent is not null;
create index runs_by_age on perdure.runs (n);
create index runs_by_state on perdure.runs (state, n) include (queue);
create index runs_generations on perdure.runs (n) where since > 0;
-- Which blobs are referenced: a value that begins with this byte is a reference (perdure.codec).
create index runs_blob_inputs on perdure.runs (input)
  where substring(input from 1 for 1) = '\x01';
create index runs_blob_results on perdure.runs (result)
  where substring(result from 1 for 1) = '\x01';

create table perdure.slots (
  cap text not null,
  run uuid not null references perdure.runs (id) on delete cascade,
  primary key (cap, run)
) with (autovacuum_vacuum_scale_factor = 0.05);

-- Journal and event log in one. Rows are only ever added. No foreign key to runs: it would lock
-- each run's row again, once for each entry.
create table perdure.log (
  run_id uuid not null,
  seq int not null,
  at timestamptz not null,
  epoch int not null,
  type text not null,
  key bytea,
  scope bytea,
  branch text,
  after bytea,
  kind text,
  name text,
  digest bytea,
  occurrence int,
  promise text,
  state text,
  took_ms int,
  value bytea,
  request bytea,
  primary key (run_id, seq)
);
create index log_blobs on perdure.log (value) where substring(value from 1 for 1) = '\x01';
-- The server's own compression costs it more than everything else about an entry of some kB.
alter table perdure.log alter value set storage external, alter request set storage external;

create table perdure.signals (
  run uuid not null references perdure.runs (id) on delete cascade,
  n int not null,
  name text not null,
  at timestamptz not null,
  dedupe text,
  read boolean not null default false, -- true once a generation that took it is over
  payload bytea not null,
  primary key (run, n)
);
alter table perdure.signals alter payload set storage external;
create index signals_blobs on perdure.signals (payload)
  where substring(payload from 1 for 1) = '\x01';
create unique index signals_dedupe on perdure.signals (run, dedupe) where dedupe is not null;

create table perdure.idempotency (
  tenant text not null,
  agent text not null,
  key text not null,
  body bytea not null,
  run uuid not null references perdure.runs (id) on delete cascade,
  expires_at timestamptz,             -- null while the run is not final (X3)
  primary key (tenant, agent, key)
);
create index idempotency_run on perdure.idempotency (run);
create index idempotency_expiry on perdure.idempotency (expires_at) where expires_at is not null;

create table perdure.messages (
  run uuid not null,
  node bytea not null,
  parent bytea not null,
  body bytea not null,
  primary key (run, node)
);

-- Runs that are to be deleted with all they have, a little at a time.
create table perdure.leftovers (
  run uuid primary key
);

-- What a worker's lock is named by: ids would have to be hashed, and hashes collide.
create sequence perdure.worker_places as int cycle;

create table perdure.workers (
  id text primary key,
  host text not null,
  pid int not null,
  birth text not null default '',     -- which process of that pid: see perdure.store.birth
  version text not null,
  queues text[] not null,
  lease interval not null,
  place int,                          -- its advisory lock is (1885696612, place); null: has none
  process text not null,              -- application_name of all its process's connections
  joined_at timestamptz not null,
  seen_at timestamptz not null,
  resumed_at timestamptz              -- when it was last heard again after a silence
) with (
  fillfactor = 30,                    -- beats are updates in place
  autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 50
);

create table perdure.leader (
  one int primary key check (one = 1),
  worker text not null,
  until timestamptz not null
) with (fillfactor = 10);

create table perdure.agents (
  name text primary key,
  queue text not null,
  framework text not null,
  description text not null,
  input_schema jsonb,
  durability text not null,
  intake jsonb not null,              -- what a new run takes over from the agent's policy
  announced_at timestamptz not null
);

create table perdure.keys (
  id text primary key,
  name text not null,
  hash bytea not null,
  scopes text[] not null,
  created_at timestamptz not null,
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz
);
