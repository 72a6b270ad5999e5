-- Looking for what should not be, and mending what is safe: it does what would have happened by
-- itself. The codes are explained in perdure.store.inspection.

-- What is wrong with single runs; with one run where `of_run` is given. Plans are made for the very
-- question: with it, it is an index look-up.
create function perdure.inspect(of_run uuid)
returns table (code text, subject text, detail text)
language plpgsql
set plan_cache_mode to force_custom_plan set jit to off
as $$
#variable_conflict use_column
declare
  t timestamptz := perdure.clock();
begin
  return query
  select 'stranger', r.id::text, r.worker from perdure.runs r
  where r.worker is not null and r.finished_at is null and (of_run is null or r.id = of_run)
    and not exists (select from perdure.workers w where w.id = r.worker)
  union all
  select 'holder_of_final', r.id::text, r.worker from perdure.runs r
  where r.worker is not null and r.finished_at is not null and (of_run is null or r.id = of_run)
  union all
  select 'head_of_final', r.id::text, r.session from perdure.runs r
  where r.head and r.finished_at is not null and (of_run is null or r.id = of_run)
  union all
  select 'slot_of_idle', r.id::text, s.cap from perdure.slots s join perdure.runs r on r.id = s.run
  where r.state not in ('queued', 'running') and (of_run is null or r.id = of_run)
  union all
  select 'slot_missing', r.id::text, r.cap from perdure.runs r
  where r.state in ('queued', 'running') and r.parent is null and r.cap is not null
    and (of_run is null or r.id = of_run)
    and not exists (select from perdure.slots s where s.run = r.id)
  union all
  select 'blocked_for_nothing', r.id::text, r.blocked_by from perdure.runs r
  where r.state = 'blocked' and (of_run is null or r.id = of_run) and (
    (r.blocked_by = 'session' and not perdure.session_taken(r.tenant, r.session, r.n))
    or (r.blocked_by = 'cap'
        and (select count(*) from perdure.slots s where s.cap = r.cap) < r.cap_limit))
  union all
  select distinct 'missed_signal', r.id::text, w ->> 'name'
  from perdure.runs r cross join jsonb_array_elements(r.waits) w
  where r.state = 'waiting' and (of_run is null or r.id = of_run) and exists (
    select from perdure.signals s where s.run = r.id and s.name = w ->> 'name'
      and s.n > (w ->> 'after')::int and not s.read)
  union all
  select distinct case when c.id is null then 'lost_child' else 'missed_child' end, r.id::text,
         substr(w ->> 'name', 5)
  from perdure.runs r cross join jsonb_array_elements(r.waits) w
  left join perdure.runs c on c.id::text = substr(w ->> 'name', 5)
  where r.state = 'waiting' and (of_run is null or r.id = of_run) and w ->> 'name' like 'run:%'
    and (c.id is null or c.finished_at is not null)
    and not exists (select from perdure.signals s where s.run = r.id and s.name = w ->> 'name')
  union all
  select 'waits_for_nothing', r.id::text, r.waits::text from perdure.runs r
  where r.state = 'waiting' and r.wake_at is null and (of_run is null or r.id = of_run)
    and not exists (
      select from jsonb_array_elements(r.waits) w
      where w ->> 'name' is not null or w ->> 'reason' in ('uncertain', 'diverged', 'limit'))
  union all
  select 'overdue', r.id::text, '' from perdure.runs r
  where r.state = 'waiting' and r.wake_at < t - interval '1 minute'
    and (of_run is null or r.id = of_run)
  union all
  select 'key_without_end', r.id::text, i.key
  from perdure.idempotency i join perdure.runs r on r.id = i.run
  where i.expires_at is null and r.finished_at is not null and (of_run is null or r.id = of_run);
end $$;

-- Mend one of them, if it is still so. `report` tells a parent of the run that it waits for.
-- Runs of workers that are no members are orphaned by the reaper, not here.
create function perdure.mend(code text, run_id uuid, about_child uuid, report bytea)
returns boolean
language plpgsql
set jit to off
as $$
declare
  run perdure.runs := perdure.hold(run_id);
begin
  if not exists (
    select from perdure.inspect(run_id) i
    where i.code = mend.code and (about_child is null or i.detail = about_child::text)
  ) then
    return false;
  end if;
  case mend.code
    when 'holder_of_final' then
      update perdure.runs r set worker = null where r.id = run_id;
    when 'head_of_final' then
      update perdure.runs r set head = false where r.id = run_id;
      perform perdure.free_session(run);
    when 'slot_of_idle' then
      perform perdure.free_slot(run);
    when 'slot_missing' then
      insert into perdure.slots (cap, run) values (run.cap, run.id) on conflict do nothing;
    when 'blocked_for_nothing', 'missed_signal', 'waits_for_nothing' then
      perform perdure.make_ready(run, '{"reason":"checked"}');
    when 'missed_child' then
      perform perdure.add_signal(run, 'run:' || about_child, report, null);
    when 'key_without_end' then
      update perdure.idempotency i set expires_at = run.finished_at + run.idempotency_window
      where i.run = run_id and i.expires_at is null;
    else
      return false;
  end case;
  return true;
end $$;

-- Runs that rows of logs (or requests) name and that are no runs, after one of them. It goes from
-- run to run, not from row to row; a last row that is no stray says where to go on.
create function perdure.strays(kind text, after uuid, most int)
returns table (run uuid, stray boolean)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  here uuid := after;
begin
  for i in 1 .. most loop
    if kind = 'log' then
      here := (select l.run_id from perdure.log l where l.run_id > here order by l.run_id limit 1);
    else
      here := (select m.run from perdure.messages m where m.run > here order by m.run limit 1);
    end if;
    if here is null then
      return;
    end if;
    if not exists (select from perdure.runs r where r.id = here)
       and not exists (select from perdure.leftovers l where l.run = here) then
      run := here;
      stray := true;
      return next;
    end if;
  end loop;
  run := here;
  stray := false;
  return next;
end $$;
