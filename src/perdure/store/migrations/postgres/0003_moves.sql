-- How a run moves: ready, blocked, finished, and what that sets free. A session is held by at
-- most one run (`head`), from the time it became ready until it is final (L4); a run holds a slot
-- of its cap exactly while it is queued or running. Child runs take no part in either.
--
-- The order of locks, which keeps deadlocks away: idempotency keys, sessions, caps (advisory,
-- each kind in the order of its hashes), then rows of runs in id order. A run's tenant, session,
-- cap and parent never change, so they are read before anything is locked.

create function perdure.lock_all(kind text, names text[]) returns void
language plpgsql as $$
declare
  hash bigint;
begin
  if cardinality(names) is null or cardinality(names) = 0 then
    return;
  elsif cardinality(names) > 100 then
    -- The server's table of locks is small: the whole kind is one lock then.
    perform pg_advisory_xact_lock(hashtextextended('perdure.' || kind, 0));
    return;
  end if;
  perform pg_advisory_xact_lock_shared(hashtextextended('perdure.' || kind, 0));
  for hash in
    select distinct hashtextextended('perdure.' || kind || ':' || name, 0)
    from unnest(names) name order by 1
  loop
    perform pg_advisory_xact_lock(hash);
  end loop;
end $$;

-- Lock the sessions and caps that moving these runs, or ending them, can touch: their own, their
-- parents', and the caps of those next in their sessions. Free of charge for runs without any.
create function perdure.lock_around(ids uuid[]) returns void
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  around uuid[];
  tenants text[];
  sessions text[];
begin
  around := ids || array(
    select distinct r.parent from perdure.runs r where r.id = any (ids) and r.parent is not null);
  select array_agg(s.tenant), array_agg(s.session) into tenants, sessions from (
    select distinct r.tenant, r.session from perdure.runs r
    where r.id = any (around) and r.parent is null and r.session is not null
  ) s;
  perform perdure.lock_all('session', array(
    select tenant || chr(31) || session from unnest(tenants, sessions) s (tenant, session)));
  perform perdure.lock_all('cap', array(
    select r.cap from perdure.runs r
    where r.id = any (around) and r.parent is null and r.cap is not null
    union
    select next.cap from unnest(tenants, sessions) s (tenant, session)
    cross join lateral (
      select r.cap from perdure.runs r
      where r.tenant = s.tenant and r.session = s.session and r.parent is null
        and r.finished_at is null
      order by r.n limit 2
    ) next
    where next.cap is not null
  ));
end $$;

-- Add a row to the run's log that is no entry. The run's row is locked.
create function perdure.append(run perdure.runs, type text, name text, value json) returns void
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
begin
  insert into perdure.log (run_id, seq, at, epoch, type, name, value)
  values (run.id,
          1 + coalesce((select max(l.seq) from perdure.log l where l.run_id = run.id), 0),
          perdure.clock(), run.epoch, append.type, append.name,
          convert_to(append.value::text, 'UTF8'));
  perform perdure.tell_run(run);
end $$;

create function perdure.tell_run(run perdure.runs) returns void language plpgsql as $$
begin
  if run.watched_until > perdure.clock() then
    perform perdure.tell('run:' || run.id, '');
  end if;
end $$;

create function perdure.tell_holder(run perdure.runs) returns void language plpgsql as $$
begin
  if run.worker is not null then
    perform perdure.tell('worker:' || run.worker, run.id::text);
  end if;
end $$;

-- Whether another run holds the session, or an older one that is not final goes first.
create function perdure.session_taken(of_tenant text, of_session text, of_n bigint)
returns boolean language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
begin
  return exists (
    select from perdure.runs r where r.tenant = of_tenant and r.session = of_session
      and r.parent is null and r.finished_at is null and r.n < of_n
  ) or exists (
    select from perdure.runs r where r.tenant = of_tenant and r.session = of_session
      and r.head and r.n <> of_n
  );
end $$;

-- Queue the run, or block it behind its session or its cap, and return which. The run was waiting,
-- blocked, or final and redriven; its row, session and cap are locked.
create function perdure.make_ready(run perdure.runs, about json) returns text
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  into_state text := 'queued';
  behind text;
  holds boolean := false;
begin
  if run.parent is null and run.session is not null then
    if not run.head and perdure.session_taken(run.tenant, run.session, run.n) then
      into_state := 'blocked';
      behind := 'session';
    else
      holds := true;
    end if;
  end if;
  if behind is null and run.parent is null and run.cap is not null then
    if (select count(*) from perdure.slots s where s.cap = run.cap) >= run.cap_limit then
      into_state := 'blocked';
      behind := 'cap';
    else
      insert into perdure.slots (cap, run) values (run.cap, run.id) on conflict do nothing;
    end if;
  end if;
  if run.state = 'blocked' and run.blocked_by = behind then
    return 'blocked';
  end if;
  update perdure.runs
  set state = into_state, blocked_by = behind, head = holds, ready_at = perdure.clock(),
      wake_at = null, waits = '[]'
  where id = run.id;
  if run.state <> 'blocked' or into_state <> 'blocked' then
    perform perdure.append(run, 'status', into_state, about);
  end if;
  if into_state = 'queued' then
    perform perdure.tell('work', run.queue);
  end if;
  return into_state;
end $$;

-- Give back the slot of the run's cap and let the next runs of that cap have what is free.
create function perdure.free_slot(run perdure.runs) returns void
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  waiting perdure.runs;
begin
  if run.cap is null or run.parent is not null then
    return;
  end if;
  delete from perdure.slots s where s.cap = run.cap and s.run = free_slot.run.id;
  if not found then
    return;
  end if;
  loop
    select r.* into waiting from perdure.runs r
    where r.cap = run.cap and r.blocked_by = 'cap'
    order by r.priority desc, r.n limit 1 for no key update;
    exit when not found or perdure.make_ready(waiting, '{"reason":"cap"}') <> 'queued';
  end loop;
end $$;

-- Let the session's next run go on; `run` is final.
create function perdure.free_session(run perdure.runs) returns void
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  following perdure.runs;
begin
  if run.session is null or run.parent is not null then
    return;
  end if;
  select r.* into following from perdure.runs r
  where r.tenant = run.tenant and r.session = run.session and r.parent is null
    and r.finished_at is null
  order by r.n limit 1 for no key update;
  if found and following.blocked_by = 'session' then
    perform perdure.make_ready(following, '{"reason":"session"}');
  end if;
end $$;

-- Append a signal to a run that is not final; wake it if it waits for it (C7).
create function perdure.add_signal(
  run perdure.runs, name text, payload bytea, dedupe text
) returns int
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  number int := 1 + coalesce((select max(s.n) from perdure.signals s where s.run = run.id), 0);
begin
  insert into perdure.signals (run, n, name, at, dedupe, payload)
  values (run.id, number, add_signal.name, perdure.clock(), add_signal.dedupe,
          add_signal.payload);
  perform perdure.append(run, 'signal', add_signal.name, ('{"n":' || number || '}')::json);
  if run.state = 'running' then
    perform perdure.tell_holder(run);
  elsif run.state = 'waiting' and exists (
    select from jsonb_array_elements(run.waits) w
    where w ->> 'name' = add_signal.name and number > (w ->> 'after')::int
  ) then
    perform perdure.make_ready(
      run, perdure.about('reason', 'signal', 'signal', add_signal.name));
  end if;
  return number;
end $$;

-- What follows from a run's end: start its idempotency window, tell its parent (`report`: the
-- payload of the signal), free what it held. `run` is the row as it was, still locked.
create function perdure.ended(run perdure.runs, report bytea) returns void
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  above perdure.runs;
begin
  if run.idempotency_window is not null then
    update perdure.idempotency i set expires_at = perdure.clock() + run.idempotency_window
    where i.run = ended.run.id;
  end if;
  perform perdure.tell_run(run);
  if run.parent is not null then
    select r.* into above from perdure.runs r where r.id = run.parent for no key update;
    if found and above.finished_at is null then
      perform perdure.add_signal(above, 'run:' || run.id, report, null);
    end if;
  else
    perform perdure.free_slot(run);
    perform perdure.free_session(run);
  end if;
end $$;

-- Make a run final that is not settled by its worker.
create function perdure.finish(
  run perdure.runs, into_state text, failure bytea, report bytea
) returns void
language plpgsql as $$
begin
  update perdure.runs
  set state = into_state, blocked_by = null, head = false, worker = null, reserved_by = null,
      finished_at = perdure.clock(), wake_at = null, waits = '[]', result = null, error = failure
  where id = run.id;
  perform perdure.ended(run, report);
end $$;
