create type perdure.new_run as (
  id uuid, agent text, queue text, tenant text, priority int, session text, cap text,
  cap_limit int, delay interval, timeout interval, max_attempts int, parent uuid,
  parent_key bytea, depth int, generation int, labels jsonb, trace text, idempotency_key text,
  idempotency_body bytea, idempotency_window interval, lease_to text, watch boolean, input bytea
);

-- Adds runs, all or none, and tells of those that did not become a new queued run: those that
-- exist already (`known`) or are another's by their idempotency key (`deduplicated`), blocked,
-- delayed or leased in place. `place` counts from 1.
create function perdure.enqueue(given perdure.new_run[])
returns table (
  place int, id uuid, state text, deduplicated boolean, leased boolean, next_seq int,
  created_at timestamptz, deadline_at timestamptz, cancel_requested boolean, now timestamptz
)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  t timestamptz := perdure.clock();
  added uuid[];
begin
  if exists (
    select from unnest(given) g where g.idempotency_key is not null
      or (g.parent is null and (g.session is not null or g.cap is not null))
  ) then
    return query select * from perdure.enqueue_in_order(given);
    return;
  end if;

  with put as (
    insert into perdure.runs (
      id, agent, queue, tenant, priority, state, epoch, max_attempts, session, cap, cap_limit,
      worker, created_at, started_at, ready_at, wake_at, deadline_at, watched_until, depth,
      generation, parent, parent_key, trace, labels, input)
    select g.id, g.agent, g.queue, g.tenant, g.priority,
           case when g.delay is not null then 'waiting' when g.lease_to is not null then 'running'
                else 'queued' end,
           case when g.delay is null and g.lease_to is not null then 1 else 0 end,
           g.max_attempts, g.session, g.cap, g.cap_limit,
           case when g.delay is null then g.lease_to end, t,
           case when g.delay is null and g.lease_to is not null then t end,
           case when g.delay is null then t end, t + g.delay, t + g.timeout,
           case when g.watch then t + interval '1 minute' else '-infinity' end, g.depth,
           g.generation, g.parent, g.parent_key, g.trace, g.labels, g.input
    from unnest(given) g
    on conflict do nothing
    returning id
  )
  select array_agg(p.id) into added from put p;

  perform perdure.tell('work', q.queue) from (
    select distinct g.queue from unnest(given) g where g.delay is null and g.lease_to is null
  ) q;
  if exists (select from unnest(given) g where g.delay is not null) then
    perform perdure.tell('timers', '');
  end if;
  if cardinality(added) = cardinality(given)
     and not exists (select from unnest(given) g where coalesce(g.delay::text, g.lease_to) is not null)
  then
    return;
  end if;
  return query
  select g.place::int, r.id, r.state, false,
         r.state = 'running' and r.epoch = 1 and r.worker = g.lease_to,
         case when r.epoch = 1 and r.worker = g.lease_to then 1 + coalesce(
           (select max(l.seq) from perdure.log l where l.run_id = r.id), 0) end,
         r.created_at, r.deadline_at, r.cancel_requested, perdure.clock()
  from (
    select row_number() over () as place, u.id, u.lease_to from unnest(given) u
  ) g
  join perdure.runs r on r.id = g.id
  order by 1;
end $$;

-- The same, run by run: who comes first takes the session, the slot and the key.
create function perdure.enqueue_in_order(given perdure.new_run[])
returns table (
  place int, id uuid, state text, deduplicated boolean, leased boolean, next_seq int,
  created_at timestamptz, deadline_at timestamptz, cancel_requested boolean, now timestamptz
)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  t timestamptz;
  g perdure.new_run;
  known record;
  behind text;
  holds boolean;
  full_cap boolean;
begin
  perform perdure.lock_all('idempotency', array(
    select concat_ws(chr(31), u.tenant, u.agent, u.idempotency_key) from unnest(given) u
    where u.idempotency_key is not null));
  perform perdure.lock_all('session', array(
    select distinct u.tenant || chr(31) || u.session from unnest(given) u
    where u.session is not null and u.parent is null));
  perform perdure.lock_all('cap', array(
    select distinct u.cap from unnest(given) u where u.cap is not null and u.parent is null));
  t := perdure.clock();
  place := 0;
  foreach g in array given loop
    place := place + 1;
    id := g.id;
    deduplicated := false;
    select r.state, r.epoch, r.worker, r.created_at, r.deadline_at, r.cancel_requested into known
    from perdure.runs r where r.id = g.id;
    if not found and g.idempotency_key is not null then
      select r.id, r.state, i.body into known
      from perdure.idempotency i join perdure.runs r on r.id = i.run
      where i.tenant = g.tenant and i.agent = g.agent and i.key = g.idempotency_key
        and (i.expires_at is null or i.expires_at > t);
      if found then
        if known.body <> g.idempotency_body then
          raise exception 'This idempotency key was used before with another request.'
            using errcode = 'PD422', detail = known.id::text;
        end if;
        id := known.id;
        state := known.state;
        deduplicated := true;
        leased := false;
        return next;
        continue;
      end if;
    end if;
    if not found then
      behind := null;
      holds := false;
      if g.parent is null and g.session is not null and g.delay is null then
        if exists (
          select from perdure.runs r where r.tenant = g.tenant and r.session = g.session
            and r.parent is null and r.finished_at is null
        ) then
          behind := 'session';
        else
          holds := true;
        end if;
      end if;
      if g.parent is null and g.cap is not null and g.delay is null and behind is null then
        full_cap := (select count(*) from perdure.slots s where s.cap = g.cap) >= g.cap_limit;
        behind := case when full_cap then 'cap' end;
      end if;
      state := case when g.delay is not null then 'waiting' when behind is not null then 'blocked'
                    when g.lease_to is not null then 'running' else 'queued' end;
      insert into perdure.runs (
        id, agent, queue, tenant, priority, state, blocked_by, head, epoch, max_attempts, session,
        cap, cap_limit, worker, created_at, started_at, ready_at, wake_at, deadline_at,
        watched_until, idempotency_window, depth, generation, parent, parent_key, trace, labels,
        input)
      values (
        g.id, g.agent, g.queue, g.tenant, g.priority, state, behind, holds,
        (state = 'running')::int, g.max_attempts, g.session, g.cap, g.cap_limit,
        case when state = 'running' then g.lease_to end, t,
        case when state = 'running' then t end, case when g.delay is null then t end, t + g.delay,
        t + g.timeout, case when g.watch then t + interval '1 minute' else '-infinity' end,
        g.idempotency_window, g.depth, g.generation, g.parent, g.parent_key, g.trace, g.labels,
        g.input)
      on conflict do nothing;
      if found then
        if g.parent is null and g.cap is not null and state in ('queued', 'running') then
          insert into perdure.slots (cap, run) values (g.cap, g.id);
        end if;
        if g.idempotency_key is not null then
          insert into perdure.idempotency as i (tenant, agent, key, body, run)
          values (g.tenant, g.agent, g.idempotency_key, g.idempotency_body, g.id)
          on conflict (tenant, agent, key) do update
          set body = excluded.body, run = excluded.run, expires_at = null;
        end if;
        if state = 'queued' then
          perform perdure.tell('work', g.queue);
          continue;
        elsif state = 'waiting' then
          perform perdure.tell('timers', '');
        end if;
      end if;
      -- Also where another call added this very id a moment ago.
      select r.state, r.epoch, r.worker, r.created_at, r.deadline_at, r.cancel_requested into known
      from perdure.runs r where r.id = g.id;
    end if;
    state := known.state;
    created_at := known.created_at;
    deadline_at := known.deadline_at;
    cancel_requested := known.cancel_requested;
    leased := known.state = 'running' and known.epoch = 1
      and known.worker is not distinct from g.lease_to;
    next_seq := 1 + coalesce((select max(l.seq) from perdure.log l where l.run_id = g.id), 0);
    now := t;
    return next;
  end loop;
end $$;
