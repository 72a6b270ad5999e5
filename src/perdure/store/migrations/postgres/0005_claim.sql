-- The ready runs of one priority in the order of claims: each line's oldest, then each one's
-- second, and so on; `most` of them. A line is a tenant's runs in one queue. A step for each line,
-- and few more rows than are returned.
create function perdure.in_turn(queues text[], level int, most int) returns uuid[]
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
set enable_bitmapscan to off
as $$
declare
  line_queues text[];
  line_tenants text[];
  lines int;
  each_line int;
  longest int;
  picked uuid[];
begin
  with recursive lines (queue, tenant) as (
    select q.queue, (
      select r.tenant from perdure.runs r
      where r.queue = q.queue and r.priority = level and r.open order by r.tenant limit 1
    ) from unnest(queues) q (queue)
    union all
    select l.queue, (
      select r.tenant from perdure.runs r
      where r.queue = l.queue and r.priority = level and r.open and r.tenant > l.tenant
      order by r.tenant limit 1
    ) from lines l where l.tenant is not null
  )
  select array_agg(l.queue), array_agg(l.tenant), count(*)
  into line_queues, line_tenants, lines
  from lines l where l.tenant is not null;
  if lines = 0 then
    return '{}';
  end if;
  each_line := (most + lines - 1) / lines;
  loop
    with c as (
      select x.*, row_number() over (partition by l.queue, l.tenant order by x.ready_at, x.n)
        as turn
      from unnest(line_queues, line_tenants) l (queue, tenant)
      cross join lateral (
        select r.id, r.ready_at, r.n from perdure.runs r
        where r.queue = l.queue and r.priority = level and r.tenant = l.tenant and r.open
        order by r.ready_at, r.n limit each_line
      ) x
    )
    select array_agg(c.id order by c.turn, c.ready_at, c.n), max(c.turn)
    into picked, longest from c;
    exit when cardinality(picked) >= most or coalesce(longest, 0) < each_line
      or each_line >= most;
    each_line := least(each_line * 4, most);
  end loop;
  return picked[:most];
end $$;

-- The ready runs among `root` and those it or they started, the oldest first.
create function perdure.family(queues text[], root uuid, most int) returns uuid[]
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
begin
  return array(
    with recursive family (id) as (
      select root
      union
      select r.id from family f join perdure.runs r on r.parent = f.id
    )
    select r.id from family f join perdure.runs r on r.id = f.id
    where r.open and r.queue = any (queues) order by r.n limit most
  );
end $$;

-- Lock rows, but wait for nobody who holds one for long: a statement that hangs must not hold up a
-- queue. Those that could not be had are skipped by who asks next.
create function perdure.lock_soon(ids uuid[]) returns void
language plpgsql
set lock_timeout to '250ms'
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
begin
  perform from perdure.runs r where r.id = any (ids) order by r.id for no key update;
exception when lock_not_available then
  -- They are skipped.
end $$;

-- Leases ready runs. The locks are statements of their own: a statement that waits for a lock
-- inside sees the runs as they were before the wait. `reserved` is the same in every row; alone
-- it comes with an `id` that is null. Below `root` it is only by age.
create function perdure.claim(
  by_worker text, queues text[], wanted int, idle boolean, root uuid
)
returns table (
  reserved boolean, id uuid, agent text, epoch int, input bytea, attempts int, max_attempts int,
  next_seq int, tenant text, session text, queue text, depth int, parent uuid, generation int,
  labels jsonb, trace text, created_at timestamptz, deadline_at timestamptz, alone boolean,
  gone boolean, cancel_requested boolean, now timestamptz
)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
set enable_bitmapscan to off
as $$
#variable_conflict use_column
declare
  t timestamptz;
  busy text[];
  level int;
  below bigint := 2147483648;
  picked uuid[] := '{}';
  lone uuid;
  lone_at int;
  lone_state text;
  kept boolean := false;
  seen int;
  free uuid[];
begin
  select r.id, r.state into lone, lone_state from perdure.runs r
  where r.reserved_by = by_worker order by r.state = 'running' desc, r.n limit 1;
  if lone is not null then
    if lone_state = 'running' or not idle then
      reserved := true;
      return next;
      return;
    end if;
    picked := array[lone];
  else
    if wanted <= 0 then
      return;
    end if;
    if root is not null then
      picked := perdure.family(queues, root, wanted + 1);
    else
      busy := array(
        select distinct q from unnest(queues) q
        where exists (select from perdure.runs r where r.queue = q and r.open));
      if cardinality(busy) = 0 then
        return;
      end if;
      perform perdure.lock_all('queue', busy);
      loop
        select max(x.priority) into level from unnest(busy) q (queue)
        cross join lateral (
          select r.priority from perdure.runs r
          where r.queue = q.queue and r.open and r.priority < below
          order by r.priority desc limit 1
        ) x;
        exit when level is null;
        -- One more than wanted: it may have to be alone, and then it is kept for this worker.
        picked := picked || perdure.in_turn(busy, level, wanted + 1 - cardinality(picked));
        exit when cardinality(picked) > wanted;
        below := level;
      end loop;
    end if;
    select min(p.place) into lone_at
    from unnest(picked) with ordinality p (id, place)
    join perdure.runs r on r.id = p.id where r.alone;
    if lone_at is null then
      picked := picked[:wanted];
    else
      with free as materialized (
        select r.id, r.open from perdure.runs r where r.id = picked[lone_at]
        for no key update skip locked
      )
      update perdure.runs r set reserved_by = by_worker from free
      where r.id = free.id and free.open returning r.id into lone;
      if lone_at = 1 and idle then
        picked := array_remove(array[lone], null);
      else
        kept := lone is not null;
        picked := picked[:lone_at - 1];
      end if;
    end if;
  end if;

  -- The state is compared above the lock: as a condition of the scan it could choose another index.
  with free as materialized (
    select r.id, r.state, r.reserved_by from perdure.runs r
    where r.id = any (picked) order by r.id for no key update skip locked
  )
  select count(*), array_agg(f.id) filter (
    where f.state = 'queued' and coalesce(f.reserved_by, by_worker) = by_worker)
  into seen, free from free f;
  if seen < cardinality(picked) then
    -- Somebody holds a row: one who moves it elsewhere, or only a late writer of its log.
    perform perdure.lock_soon(picked);
    with free as materialized (
      select r.id, r.state, r.reserved_by from perdure.runs r
      where r.id = any (picked) order by r.id for no key update skip locked
    )
    select array_agg(f.id) filter (
      where f.state = 'queued' and coalesce(f.reserved_by, by_worker) = by_worker)
    into free from free f;
  end if;

  t := perdure.clock();
  return query
  with taken as (
    update perdure.runs r
    set state = 'running', epoch = r.epoch + 1, worker = by_worker,
        started_at = coalesce(r.started_at, t)
    where r.id = any (free)
    returning r.*
  )
  select kept, r.id, r.agent, r.epoch, r.input, r.attempts, r.max_attempts,
         1 + coalesce((select max(l.seq) from perdure.log l where l.run_id = r.id), 0),
         r.tenant, r.session, r.queue, r.depth, r.parent, r.generation, r.labels, r.trace,
         r.created_at, r.deadline_at, r.alone, r.gone, r.cancel_requested, t
  from taken r join unnest(picked) with ordinality p (id, place) on p.id = r.id
  order by p.place;
  if kept and not found then
    reserved := true;
    return next;
  end if;
end $$;
