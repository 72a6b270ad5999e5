-- `wake_at` is the earliest time its waits name; `names` and `afters` are the signals it waits
-- for; `report` is the payload for its parent. With `next_input` a queued run goes on in a new
-- generation, which does not meet the `taken` signals again.
create type perdure.settlement as (
  id uuid, epoch int, state text, attempts int, result bytea, error bytea, waits jsonb,
  wake_at timestamptz, wake_in interval, names text[], afters int[], report bytea,
  next_input bytea, taken int[]
);

-- Ends attempts and returns what the runs are now; runs whose lease is lost are left out. Each
-- (id, epoch) is given once. The records' seqs count from 1 within their run.
create function perdure.settle(given perdure.settlement[], records perdure.entry[])
returns table (id uuid, epoch int, state text)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  t timestamptz;
  ids uuid[] := array(select g.id from unnest(given) g);
  parents uuid[];
  held uuid[];
  epochs int[];
  bound uuid[];
  awake uuid[];
  reasons text[];
  others boolean;
  queues text[];
  watched uuid[];
  run perdure.runs;
  g perdure.settlement;
begin
  -- Runs that hold nothing and have no parent need no locks but their own rows.
  if exists (
    select from perdure.runs r where r.id = any (ids)
      and (r.session is not null or r.cap is not null or r.parent is not null)
  ) then
    perform perdure.lock_around(ids);
    parents := array(
      select r.parent from perdure.runs r where r.id = any (ids) and r.parent is not null);
  end if;
  with fence as materialized (
    select r.id, r.epoch, r.state, r.watched_until,
           r.session is not null or r.cap is not null or r.parent is not null
             or r.idempotency_window is not null as bound
    from perdure.runs r
    where r.id = any (ids || parents) order by r.id for no key update
  ),
  checked as materialized (
    select f.*, f.state = 'running'
      and (f.id, f.epoch) in (select u.id, u.epoch from unnest(given) u) as current
    from fence f
  )
  select array_agg(c.id) filter (where c.current), array_agg(c.epoch) filter (where c.current),
         array_agg(c.id) filter (where c.current and c.bound),
         count(*) filter (where c.current) < cardinality(given)
  into held, epochs, bound, others from checked c;
  t := perdure.clock();

  -- A park looks for what it would wait for before it waits (C7), now that nobody can add to it.
  if exists (select from unnest(given) u where u.state = 'waiting') then
    select array_agg(w.id), array_agg(w.reason) into awake, reasons from (
      select u.id, case
        when r.cancel_requested then 'cancel'
        when exists (
          select from unnest(u.names, u.afters) w (name, after)
          join perdure.signals s on s.run = u.id and s.name = w.name and s.n > w.after
            and not s.read
        ) then 'signal'
        when least(u.wake_at, t + u.wake_in, r.deadline_at) <= t then 'time' end as reason
      from unnest(given) u join perdure.runs r on r.id = u.id and r.epoch = u.epoch
      where u.state = 'waiting' and (u.id in (select unnest(held))) is true
    ) w where w.reason is not null;
    if (
      select min(least(u.wake_at, t + u.wake_in, r.deadline_at))
      from unnest(given) u join perdure.runs r on r.id = u.id and r.epoch = u.epoch
      where u.state = 'waiting' and (u.id in (select unnest(held))) is true
    ) <= coalesce(
      (select r.wake_at from perdure.runs r where r.wake_at is not null
       order by r.wake_at limit 1), 'infinity')
    then
      perform perdure.tell('timers', '');
    end if;
  end if;

  if cardinality(records) > 0 then
    insert into perdure.log (run_id, seq, at, epoch, type, key, scope, branch, after, kind, name,
                             digest, occurrence, promise, state, took_ms, value, request)
    select u.run_id,
           u.seq + coalesce((select max(l.seq) from perdure.log l where l.run_id = u.run_id), 0),
           t, u.epoch, u.type, u.key, u.scope, u.branch, u.after, u.kind, u.name, u.digest,
           u.occurrence, u.promise, u.state, u.took_ms, u.value, u.request
    from unnest(records) u
    where (u.run_id, u.epoch) in (select * from unnest(held, epochs));
  end if;

  with moved as (
    update perdure.runs r
    set state = s.state, worker = null, reserved_by = null, attempts = s.attempts,
        head = r.head and s.state in ('waiting', 'queued'),
        finished_at = case when s.state in ('waiting', 'queued') then null else t end,
        ready_at = case when s.state = 'queued' then t else r.ready_at end,
        wake_at = case when s.state = 'waiting'
                       then least(s.wake_at, t + s.wake_in, r.deadline_at) end,
        waits = case when s.state = 'waiting' then s.waits else '[]' end,
        result = s.result, error = s.error
    from (
      select u.id, u.epoch, u.attempts, u.result, u.error, u.waits, u.wake_at, u.wake_in,
             case when u.id in (select unnest(awake)) then 'queued' else u.state end as state
      -- `is true` keeps it a hashed look-up: as a join it was a nested loop, quadratic in the batch.
      from unnest(given) u where (u.id in (select unnest(held))) is true
    ) s
    where r.id = s.id and r.epoch = s.epoch
    returning r.id, r.state, r.queue, r.watched_until
  )
  select array_agg(distinct m.queue) filter (where m.state = 'queued'),
         array_agg(m.id) filter (where m.watched_until > t)
  into queues, watched from moved m;
  if queues is not null then
    perform perdure.tell('work', q) from unnest(queues) q;
  end if;
  if watched is not null then
    perform perdure.tell('run:' || w, '') from unnest(watched) w;
  end if;

  if exists (select from unnest(given) u where u.next_input is not null) then
    update perdure.runs r
    set input = u.next_input, generation = r.generation + 1,
        since = coalesce((select max(l.seq) from perdure.log l where l.run_id = r.id), 0)
    from unnest(given) u
    where r.id = u.id and u.next_input is not null
      and (u.id, u.epoch) in (select * from unnest(held, epochs));
    update perdure.signals s set read = true
    from unnest(given) u
    where s.run = u.id and s.n = any (u.taken) and u.next_input is not null
      and (u.id, u.epoch) in (select * from unnest(held, epochs));
  end if;

  if awake is not null then
    insert into perdure.log (run_id, seq, at, epoch, type, name, value)
    select a.id, 1 + coalesce((select max(l.seq) from perdure.log l where l.run_id = a.id), 0),
           t, r.epoch, 'status', 'queued',
           convert_to(perdure.about('reason', a.reason)::text, 'UTF8')
    from unnest(awake, reasons) a (id, reason) join perdure.runs r on r.id = a.id;
  end if;

  if bound is not null then
    -- Parked runs give their slots back before anything is promoted.
    for g in
      select u.* from unnest(given) u
      where (u.id, u.epoch) in (select * from unnest(held, epochs)) and u.id in (select unnest(bound))
      order by u.state <> 'waiting'
    loop
      select r.* into run from perdure.runs r where r.id = g.id;
      if g.state not in ('waiting', 'queued') then
        perform perdure.ended(run, g.report);
      elsif run.state = 'waiting' then
        perform perdure.free_slot(run);
      end if;
    end loop;
  end if;

  return query
  select u.id, u.epoch,
         case when u.id in (select unnest(awake)) then 'queued' else u.state end
  from unnest(given) u where (u.id, u.epoch) in (select * from unnest(held, epochs));

  if others then
    -- A call whose answer was lost is made again: the run is where this very attempt took it.
    -- That a queued run was queued by this attempt, and not orphaned, cannot be told.
    return query
    select u.id, u.epoch, u.state
    from unnest(given) u join perdure.runs r on r.id = u.id
    where (u.id, u.epoch) not in (select * from unnest(held, epochs))
      and r.epoch = u.epoch and r.state = u.state and u.state <> 'queued'
      and r.attempts = u.attempts
      and (u.state = 'waiting' or (r.result is not distinct from u.result
                                   and r.error is not distinct from u.error));
  end if;
end $$;
