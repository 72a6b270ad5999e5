-- Members, the orphans they leave, timers, the leader.

-- Note the worker as a member; it holds its lock already.
create function perdure.join(
  worker text, host text, pid int, birth text, version text, queues text[], lease interval,
  place int, process text
) returns void
language plpgsql as $$
declare
  t timestamptz := perdure.clock();
begin
  insert into perdure.workers as w
    (id, host, pid, birth, version, queues, lease, place, process, joined_at, seen_at)
  values (worker, host, pid, birth, version, queues, lease, place, process, t, t)
  on conflict (id) do update
  set host = excluded.host, pid = excluded.pid, birth = excluded.birth, version = excluded.version,
      queues = excluded.queues, lease = excluded.lease, place = excluded.place,
      process = excluded.process, joined_at = t, seen_at = t, resumed_at = null;
  perform pg_notify('perdure_members', '');
end $$;

-- One statement keeps the lease: whatever it holds, a worker has one row. Tells who its neighbour
-- in the ring of ids is, whose end it watches for; that the row is gone (`known` is false); and for
-- how long everyone has had the chance to beat: since the server started, and since this worker
-- itself was away.
create function perdure.beat(worker text)
returns table (known boolean, backend int, neighbour text, place int, calm interval)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  t timestamptz := perdure.clock();
  since timestamptz;
begin
  update perdure.workers w
  set seen_at = t, resumed_at = case when t - w.seen_at > w.lease / 2 then t else w.resumed_at end
  where w.id = worker
  returning greatest(w.resumed_at, pg_postmaster_start_time()) into since;
  known := found;
  backend := pg_backend_pid();
  calm := t - since;
  select w.id, w.place into neighbour, place from perdure.workers w
  where w.id > worker and w.place is not null order by w.id limit 1;
  if neighbour is null then
    select w.id, w.place into neighbour, place from perdure.workers w
    where w.id < worker and w.place is not null order by w.id limit 1;
  end if;
  return next;
end $$;

-- The workers that hold no lock, whose process has no connection left either. `heard`: how long
-- ago they beat.
create function perdure.lockless(but text)
returns table (worker text, place int, heard interval, lease interval)
language sql as $$
  select w.id, w.place, perdure.clock() - w.seen_at, w.lease from perdure.workers w
  where w.id <> but and w.place is not null and not exists (
    select from pg_locks l
    where l.locktype = 'advisory' and l.classid = 1885696612 and l.objid = w.place::oid
      and l.objsubid = 2 and l.granted and l.mode = 'ExclusiveLock'
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
  ) and not exists (
    select from pg_stat_activity a where a.application_name = w.process
  )
$$;

-- Workers whose lease ran out, and strangers that lease runs. `observers` are the workers of the
-- one who asks: whoever was away itself, or meets a server that has just started, gives the others
-- a lease of time to beat again (L5). `blind` is how long ago the asker's own connections came
-- back, null for never. Also forgets idempotency keys whose window is over.
create function perdure.lapsed(observers text[], blind interval) returns setof text
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  t timestamptz := perdure.clock();
  since timestamptz;
begin
  delete from perdure.idempotency i where (i.tenant, i.agent, i.key) in (
    select e.tenant, e.agent, e.key from perdure.idempotency e
    where e.expires_at <= t order by e.expires_at limit 1000 for update skip locked);
  select greatest(
    pg_postmaster_start_time(), t - blind,
    max(case when t - w.seen_at > w.lease / 2 then t else w.resumed_at end))
  into since from perdure.workers w where w.id = any (observers);
  return query
    select w.id from perdure.workers w
    where w.id <> all (observers) and t - greatest(w.seen_at, since) > w.lease;
  return query
    (select r.worker from perdure.runs r where r.worker is not null
     union select r.reserved_by from perdure.runs r where r.reserved_by is not null)
    except select w.id from perdure.workers w;
end $$;

-- What a worker leases, as the rules of blame need it (L6).
create function perdure.leased(by_worker text)
returns table (
  id uuid, epoch int, strikes int, strikes_seq int, alone boolean, last_entry int
)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
begin
  return query
  select r.id, r.epoch, r.strikes, r.strikes_seq, r.alone, coalesce((
    select l.seq from perdure.log l
    where l.run_id = r.id and l.type = 'entry' order by l.seq desc limit 1), 0)
  from perdure.runs r where r.worker = by_worker;
end $$;

create type perdure.verdict as (
  id uuid, epoch int, last_entry int, strikes int, strikes_seq int, alone boolean, dead boolean,
  report bytea
);

-- Orphan runs of a worker. A run that moved on since it was looked at is left for another look;
-- returns how many were orphaned and how many are left. With none left the worker is no member.
create function perdure.orphan(
  by_worker text, is_gone boolean, given perdure.verdict[], failure bytea
) returns table (orphaned int, remaining int)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  g perdure.verdict;
  run perdure.runs;
  about json;
begin
  perform perdure.lock_around(array(select u.id from unnest(given) u where u.dead));
  perform from perdure.runs r
  where r.id in (
    select u.id from unnest(given) u
    union select p.parent from unnest(given) u join perdure.runs p on p.id = u.id where u.dead
  ) order by r.id for no key update;
  orphaned := 0;
  foreach g in array given loop
    select r.* into run from perdure.runs r where r.id = g.id;
    continue when run.state <> 'running' or run.worker <> by_worker or run.epoch <> g.epoch
      or g.last_entry <> coalesce((
        select l.seq from perdure.log l
        where l.run_id = g.id and l.type = 'entry' order by l.seq desc limit 1), 0);
    orphaned := orphaned + 1;
    about := perdure.about(
      'reason', case when g.dead then 'poison' else 'orphaned' end, 'worker', by_worker);
    if g.dead then
      perform perdure.append(run, 'status', 'dead', about);
      perform perdure.finish(run, 'dead', failure, g.report);
    else
      update perdure.runs r
      set state = 'queued', worker = null, reserved_by = null, strikes = g.strikes,
          strikes_seq = g.strikes_seq, alone = g.alone, gone = r.gone and is_gone
      where r.id = g.id;
      perform perdure.append(run, 'status', 'queued', about);
      perform perdure.tell('work', run.queue);
    end if;
  end loop;
  select count(*) into remaining from perdure.runs r where r.worker = by_worker;
  if remaining = 0 then
    delete from perdure.workers w where w.id = by_worker;
    delete from perdure.leader l where l.worker = by_worker;
    for run in
      update perdure.runs r set reserved_by = null where r.reserved_by = by_worker returning r.*
    loop
      perform perdure.tell('work', run.queue);
    end loop;
    perform pg_notify('perdure_members', '');
  end if;
  return next;
end $$;

create function perdure.wake_due(most int) returns table (woken int, next_in interval)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  t timestamptz := perdure.clock();
  due uuid[];
  bound uuid[];
  queues text[];
  watched uuid[];
  run perdure.runs;
begin
  woken := 0;
  perform perdure.lock_all('timers', array['due']);  -- nobody looks for what another moves
  -- wake_at is set only while a run waits, and no other index has it.
  due := array(
    select r.id from perdure.runs r where r.wake_at <= t order by r.wake_at limit most);
  if cardinality(due) > 0 then
    perform perdure.lock_around(due);
    with fence as materialized (
      select r.id, r.state, r.wake_at,
             r.parent is null and (r.session is not null or r.cap is not null) as bound
      from perdure.runs r where r.id = any (due) order by r.id for no key update
    ),
    checked as materialized (
      select f.*, f.state = 'waiting' and f.wake_at <= t as current from fence f
    )
    select array_agg(c.id) filter (where not c.bound), array_agg(c.id) filter (where c.bound)
    into due, bound from checked c where c.current;

    insert into perdure.log (run_id, seq, at, epoch, type, name, value)
    select r.id, 1 + coalesce((select max(l.seq) from perdure.log l where l.run_id = r.id), 0),
           t, r.epoch, 'status', 'queued', convert_to('{"reason":"time"}', 'UTF8')
    from perdure.runs r where r.id = any (due);
    with moved as (
      update perdure.runs r
      set state = 'queued', ready_at = t, wake_at = null, waits = '[]'
      where r.id = any (due) returning r.id, r.queue, r.watched_until
    )
    select count(*), array_agg(distinct m.queue),
           array_agg(m.id) filter (where m.watched_until > t)
    into woken, queues, watched from moved m;
    if queues is not null then
      perform perdure.tell('work', q) from unnest(queues) q;
    end if;
    if watched is not null then
      perform perdure.tell('run:' || w, '') from unnest(watched) w;
    end if;

    for run in
      select r.* from unnest(bound) b join perdure.runs r on r.id = b order by r.wake_at
    loop
      if perdure.make_ready(run, '{"reason":"time"}') = 'queued' then
        woken := woken + 1;
      end if;
    end loop;
  end if;
  select greatest(r.wake_at - perdure.clock(), '0') into next_in
  from perdure.runs r where r.wake_at is not null order by r.wake_at limit 1;
  return next;
end $$;

create function perdure.lead(by_worker text, ttl interval) returns boolean
language plpgsql as $$
declare
  t timestamptz := perdure.clock();
begin
  insert into perdure.leader as l (one, worker, until) values (1, by_worker, t + ttl)
  on conflict (one) do update set worker = excluded.worker, until = excluded.until
  where l.worker = excluded.worker or l.until <= t;
  return found;
end $$;
