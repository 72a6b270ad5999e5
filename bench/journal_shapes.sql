-- The journal's shape that the measurements chose (see journal_shapes.py for what it was chosen from).
-- `log` is both the journal and the event log of a run.

create table runs (
  id uuid primary key,
  agent text not null, tenant text not null, queue text not null, shape text not null,
  session text, parent uuid, root uuid, batch text, depth int not null default 0,
  priority int not null default 0, state text not null, epoch int not null default 0,
  attempts int not null default 0, strikes int not null default 0, worker text,
  created_at timestamptz not null default clock_timestamp(),
  ready_at timestamptz not null default clock_timestamp(),
  wake_at timestamptz, deadline timestamptz, finished_at timestamptz,
  watched_until timestamptz, idempotency_key text, budget numeric, spent numeric,
  error text, outcome text, version text, input bytea, result bytea
);
create index runs_ready on runs (queue, priority desc, ready_at, id) where state = 'queued';
create index runs_of_worker on runs (worker) where state = 'running';
create unique index runs_one_of_session on runs (session) where state = 'running';

-- No foreign key to runs: it would lock each run's row again, once for each entry.
create table log (
  run_id uuid not null, seq int not null, at timestamptz not null default clock_timestamp(),
  epoch int not null, type text not null,
  key bytea, scope bytea, branch text, after bytea, kind text, name text, digest bytea,
  occurrence int, promise text, state text, took_ms int,
  value bytea, request bytea,
  primary key (run_id, seq)
);
-- The server's own compression costs it 25 to 140 us for a value of 8 kB (hex digits, English), 40
-- to 60 us is all the rest. PLAIN would refuse rows over 8 kB. (`create table` takes this only
-- from PostgreSQL 16 on.)
alter table log alter value set storage external, alter request set storage external;

-- One array of this type is a third cheaper for the client than an array for each column, and
-- the server unnests it once. An attribute is never added: clients send all of them, so a new
-- column needs a new type and a new function beside the old ones until the last old worker ends.
create type entry as (
  run_id uuid, seq int, epoch int, type text,
  key bytea, scope bytea, branch text, after bytea, kind text, name text, digest bytea,
  occurrence int, promise text, state text, took_ms int, value bytea, request bytea
);

-- Writes a group commit and returns the entries that are NOT in the log: normally none.
--   held = false: the epoch is old or the run is not running. The lease is lost.
--   held = true:  somebody else took that seq (cancel, signal); `last` is the run's greatest seq,
--                 to number on from. No entry of that run was written, so their order is kept.
-- Entries that are in the log already, exactly as given, count as written, so that a batch whose
-- answer was lost can be sent again. Other runs of the batch are never harmed.
--
-- Why a function: each statement in it has a snapshot of its own, so what runs after the locks
-- sees everything that was committed before them; plans are cached without prepared statements
-- and with settings of their own, whatever pooler is in between; and an insert without ON
-- CONFLICT and without joins is a third cheaper for the server.
create function record(entries entry[])
returns table (run_id uuid, seq int, held boolean, last int)
language plpgsql
-- Plans are made once, when tables may be empty: never a sequential scan, never JIT.
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  ids uuid[];
  leases int;
  locked uuid[];
  epochs int[];
  watched uuid[];
begin
  select array_agg(distinct e.run_id), count(distinct (e.run_id, e.epoch)) into ids, leases
  from unnest(entries) e;

  -- The fence, in id order: no deadlocks. Whoever waits here behind a claim gets the row's newest
  -- version, and compares that one's epoch; whoever holds the lock makes the claim wait.
  -- The state is no condition of the scan: statistics say that hardly a run is `running`, and the
  -- planner would read every running run through a partial index, once for each entry (seen: a
  -- fifth of the speed). `in` as a value is a hashed lookup in every plan.
  with fence as materialized (
    select r.id, r.epoch, r.state, r.watched_until from runs r
    where r.id = any (ids) order by r.id for share
  ),
  held as materialized (
    select f.id, f.epoch, f.watched_until from (
      select f.*, (f.id, f.epoch) in (select e.run_id, e.epoch from unnest(entries) e) as current
      from fence f offset 0
    ) f
    where f.state = 'running' and f.current
  )
  select array_agg(h.id), array_agg(h.epoch),
         array_agg(h.id) filter (where h.watched_until > clock_timestamp())
  into locked, epochs, watched from held h;

  if watched is not null then
    perform pg_notify('perdure', 'run:' || w) from unnest(watched) w;
  end if;

  if cardinality(locked) = leases then
    begin
      insert into log (run_id, seq, epoch, type, key, scope, branch, after, kind, name, digest,
                       occurrence, promise, state, took_ms, value, request)
      select * from unnest(entries);
      return;
    exception when unique_violation then
      -- A seq is taken: find out whose, below.
    end;
  end if;

  -- The rare way. Nobody can append to a locked run, so what is read here stays true. Every
  -- look-up is a scalar subquery or a hashed `in`: plans that cannot turn into a scan of the log.
  return query
  with given as materialized (
    select e, (e.run_id, e.epoch) in (select * from unnest(locked, epochs)) as held,
           -- Null: the seq is free. True: this entry has it. False: another has.
           (select l.epoch = e.epoch and l.type = e.type and l.key is not distinct from e.key
                   and l.state is not distinct from e.state
                   and l.value is not distinct from e.value
            from log l where l.run_id = e.run_id and l.seq = e.seq) as present
    from unnest(entries) e
  ),
  wanted as materialized (
    select g.*, bool_or(g.present is false) over (partition by (g.e).run_id) as taken
    from given g
  ),
  written as (
    insert into log (run_id, seq, epoch, type, key, scope, branch, after, kind, name, digest,
                     occurrence, promise, state, took_ms, value, request)
    select (w.e).* from wanted w
    where w.held and w.present is null and not w.taken
    on conflict do nothing
    returning run_id, seq
  )
  select (w.e).run_id, (w.e).seq, w.held,
         (select max(l.seq) from log l where l.run_id = (w.e).run_id)
  from wanted w
  where w.present is not true
    and not coalesce(((w.e).run_id, (w.e).seq) in (select run_id, seq from written), false)
  order by 1, 2;
end $$;

create type new_run as (
  id uuid, agent text, tenant text, queue text, shape text, session text, priority int,
  idempotency_key text, ready_at timestamptz, deadline timestamptz, version text, input bytea
);

create function enqueue(given new_run[]) returns setof uuid
language sql as $$
  with put as (
    insert into runs (id, agent, tenant, queue, shape, session, priority, idempotency_key,
                      ready_at, deadline, version, input, state)
    select g.id, g.agent, g.tenant, g.queue, g.shape, g.session, g.priority, g.idempotency_key,
           coalesce(g.ready_at, clock_timestamp()), g.deadline, g.version, g.input, 'queued'
    from unnest(given) g
    on conflict do nothing
    returning id
  ),
  told as (
    insert into log (run_id, seq, epoch, type) select id, 1, 0, 'run.queued' from put
  )
  select id from put
$$;

-- The lock must be a statement of its own: a statement that waits for it inside sees the
-- sessions and caps as they were before the wait.
create function claim(wanted int, of_queue text, by_worker text) returns setof runs
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
begin
  perform pg_advisory_xact_lock(hashtext('perdure.claim'), hashtext(of_queue));
  return query
  with head as materialized (
    select id from runs
    where queue = of_queue and state = 'queued' and ready_at <= clock_timestamp()
    order by priority desc, ready_at, id limit wanted for update skip locked
  ),
  taken as (
    update runs r set state = 'running', epoch = r.epoch + 1, worker = by_worker
    from head where r.id = head.id
    returning r.*
  ),
  told as (
    insert into log (run_id, seq, epoch, type)
    select id, 1 + coalesce((select max(l.seq) from log l where l.run_id = id), 0), epoch,
           'attempt.started'
    from taken
  )
  select * from taken;
end $$;

create type settlement as (
  id uuid, epoch int, state text, result bytea, error text, wake_at timestamptz, seq int,
  event bytea
);

-- Returns the runs that were not settled, because their lease is lost.
create function settle(given settlement[]) returns setof uuid
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  ids uuid[];
  locked uuid[];
begin
  ids := array(select g.id from unnest(given) g);
  with fence as materialized (
    select r.id, r.epoch, r.state from runs r
    where r.id = any (ids) order by r.id for no key update
  )
  select array_agg(f.id) into locked from fence f
  join unnest(given) g on f.id = g.id and f.epoch = g.epoch
  where f.state = 'running';
  update runs r
  set state = g.state, result = g.result, error = g.error, wake_at = g.wake_at, worker = null,
      finished_at = case when g.wake_at is null then clock_timestamp() end
  from unnest(given) g
  where r.id = g.id and r.epoch = g.epoch and r.id = any (locked);
  insert into log (run_id, seq, epoch, type, value)
  select g.id, g.seq + n, g.epoch, case n when 0 then 'attempt.ended' else 'run.' || g.state end,
         case n when 1 then g.event end
  from unnest(given) g, generate_series(0, 1) n
  where g.id = any (locked);
  return query select g.id from unnest(given) g where g.id <> all (coalesce(locked, '{}'));
end $$;
