-- What comes to a run from outside: signals, cancels, an operator's answers and redrives. Each
-- looks at the run's state and moves it; the first commit wins (C4, C7). The run's own attempt is
-- never interrupted here: its worker is told to look.

-- The run's row, locked with everything that moving it can touch; null where there is none.
create function perdure.hold(run_id uuid) returns perdure.runs
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  run perdure.runs;
  above uuid;
begin
  perform perdure.lock_around(array[run_id]);
  -- In id order, as everywhere: the parent's row may come first.
  select r.parent into above from perdure.runs r where r.id = run_id;
  if above is not null then
    perform from perdure.runs r where r.id in (run_id, above) order by r.id for no key update;
  end if;
  select r.* into run from perdure.runs r where r.id = run_id for no key update;
  return run;
end $$;

create function perdure.refuse(run perdure.runs, message text) returns void
language plpgsql as $$
begin
  raise exception using message = refuse.message, errcode = 'PD409', detail = run.state;
end $$;

-- Returns the signal's number; null where there is no such run.
create function perdure.signal(run_id uuid, name text, payload bytea, dedupe text) returns int
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  run perdure.runs := perdure.hold(run_id);
  first int;
begin
  if run.id is null then
    return null;
  end if;
  if signal.dedupe is not null then
    select s.n into first from perdure.signals s
    where s.run = run_id and s.dedupe = signal.dedupe;
    if found then
      return first;
    end if;
  end if;
  if run.finished_at is not null then
    perform perdure.refuse(
      run, format('The run %s is %s: it takes no signals.', run.id, run.state));
  end if;
  return perdure.add_signal(run, signal.name, signal.payload, signal.dedupe);
end $$;

create function perdure.cancel(run_id uuid, reason text, failure bytea, report bytea)
returns setof perdure.runs
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  run perdure.runs := perdure.hold(run_id);
begin
  if run.state in ('succeeded', 'failed', 'dead') then
    perform perdure.refuse(run, format('A run that is %s cannot be cancelled.', run.state));
  elsif run.state = 'running' and not run.cancel_requested then
    update perdure.runs r set cancel_requested = true where r.id = run_id;
    perform perdure.append(run, 'status', 'cancelling', perdure.about('reason', reason));
    perform perdure.tell_holder(run);
  elsif run.state in ('blocked', 'queued', 'waiting') then
    perform perdure.append(run, 'status', 'cancelled', perdure.about('reason', reason));
    update perdure.runs r set cancel_requested = true where r.id = run_id;
    perform perdure.finish(run, 'cancelled', failure, report);
  end if;
  return query select r.* from perdure.runs r where r.id = run_id;
end $$;

create function perdure.resolve(run_id uuid, key bytea, value bytea, who text)
returns setof perdure.runs
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  run perdure.runs := perdure.hold(run_id);
  entry perdure.log;
  answer text := case when resolve.value is null then 'void' else 'done' end;
  about json := perdure.about(
    'reason', 'resolved', 'key', encode(resolve.key, 'hex'), 'who', who);
  asked boolean := run.waits @> jsonb_build_array(
    jsonb_build_object('key', encode(resolve.key, 'hex')));
begin
  if run.id is null then
    return;
  end if;
  select l.* into entry from perdure.log l
  where l.run_id = run.id and l.type = 'entry' and l.key = resolve.key and l.seq > run.since
  order by l.seq desc limit 1;
  if entry.seq is not null and not asked and entry.state = answer
     and entry.value is not distinct from resolve.value then
    return query select r.* from perdure.runs r where r.id = run.id;  -- the call was repeated
    return;
  elsif run.finished_at is not null or run.state = 'running' then
    perform perdure.refuse(
      run, format('The run %s is %s: it waits for no answer.', run.id, run.state));
  elsif entry.seq is null or not (asked or entry.state = 'intent') then
    perform perdure.refuse(
      run, format('The run %s does not wait for an answer to that effect.', run.id));
  end if;
  entry.seq := 1 + (select max(l.seq) from perdure.log l where l.run_id = run.id);
  entry.at := perdure.clock();
  entry.epoch := run.epoch;
  entry.state := answer;
  entry.value := resolve.value;
  entry.took_ms := 0;
  insert into perdure.log select entry.*;
  if run.state = 'waiting' then
    perform perdure.make_ready(run, about);
  else
    perform perdure.append(run, 'status', run.state, about);
  end if;
  return query select r.* from perdure.runs r where r.id = run.id;
end $$;

create function perdure.redrive(run_id uuid) returns setof perdure.runs
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  run perdure.runs := perdure.hold(run_id);
  t timestamptz := perdure.clock();
begin
  if run.state = 'waiting' then
    perform perdure.make_ready(run, '{"reason":"redriven"}');
    return query select r.* from perdure.runs r where r.id = run_id;
    return;
  end if;
  if run.state not in ('failed', 'dead') then
    perform perdure.refuse(run, format('A run that is %s cannot be redriven.', run.state));
  end if;
  -- A run that killed its workers stays alone: fresh attempts are no reason to risk others.
  update perdure.runs r
  set attempts = 0, strikes = 0, strikes_seq = 0, cancel_requested = false, finished_at = null,
      dismissed_at = null, result = null, error = null, deadline_at = t + (r.deadline_at - r.created_at)
  where r.id = run_id returning r.* into run;
  update perdure.idempotency i set expires_at = null where i.run = run_id;
  if run.id is not null then
    perform perdure.make_ready(run, '{"reason":"redriven"}');
  end if;
  return query select r.* from perdure.runs r where r.id = run_id;
end $$;

create function perdure.dismiss(run_id uuid, who text) returns setof perdure.runs
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  run perdure.runs := perdure.hold(run_id);
begin
  if run.state <> 'dead' then
    perform perdure.refuse(run, format('The run %s is %s: it is no dead letter.', run.id, run.state));
  elsif run.dismissed_at is null and run.id is not null then
    update perdure.runs r set dismissed_at = perdure.clock() where r.id = run_id;
    perform perdure.append(
      run, 'status', run.state, perdure.about('reason', 'dismissed', 'who', who));
  end if;
  return query select r.* from perdure.runs r where r.id = run_id;
end $$;

-- While enough of the minute is left nothing is written.
create function perdure.watch(run_id uuid) returns void language plpgsql as $$
begin
  update perdure.runs r set watched_until = perdure.clock() + interval '1 minute'
  where r.id = run_id and r.watched_until < perdure.clock() + interval '30 seconds';
end $$;
