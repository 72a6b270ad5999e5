-- One array of this type is a third cheaper for the client than an array for each column, and
-- the server unnests it once. An attribute is never added: clients send all of them, so a new
-- column needs a new type and a new function beside the old ones until the last old worker ends.
create type perdure.entry as (
  run_id uuid, seq int, epoch int, type text,
  key bytea, scope bytea, branch text, after bytea, kind text, name text, digest bytea,
  occurrence int, promise text, state text, took_ms int, value bytea, request bytea
);

-- Tell everyone who listens. What is too long for a notification is "anything".
create function perdure.tell(topic text, payload text) returns void language sql as $$
  select pg_notify('perdure', topic || '|' ||
    case when octet_length(topic) + octet_length(payload) < 7900 then payload else '*' end)
$$;

-- A JSON object of texts, written as the clients write it.
create function perdure.about(variadic pairs text[]) returns json language sql as $$
  select ('{' || string_agg(
    to_json(pairs[i])::text || ':' || coalesce(to_json(pairs[i + 1])::text, 'null'), ',' order by i
  ) || '}')::json
  from generate_series(1, cardinality(pairs), 2) i
$$;

-- Writes a group commit and returns the rows that were NOT written: normally none.
--   lost:     the epoch is old or the run is not running.
--   not lost: the number was taken (cancel, signal) or leaves a gap; number on from next_seq.
--             What follows of that run is not written either, so that the order is kept.
-- Rows that are in the log already, exactly as given, count as written, so that a batch whose
-- answer was lost can be sent again. Other runs of the batch are never harmed.
--
-- Each statement in a function has a snapshot of its own, so what runs after the locks sees
-- everything that was committed before them; its plans are cached without prepared statements
-- and with settings of their own, whatever pooler is in between. Plans are made once, when
-- tables may be empty: never a sequential scan, never JIT.
create function perdure.record(entries perdure.entry[])
returns table (run_id uuid, seq int, lost boolean, next_seq int)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  t timestamptz := perdure.clock();
  ids uuid[];
  epochs int[];
  firsts int[];
  whole boolean;
  fit boolean;
  held uuid[];
  watched uuid[];
  e perdure.entry;
  run uuid;
  following int;
  taken boolean;
begin
  select array_agg(g.run_id), array_agg(g.epoch), array_agg(g.first), bool_and(g.whole)
  into ids, epochs, firsts, whole
  from (
    select u.run_id, u.epoch, min(u.seq) as first, max(u.seq) - min(u.seq) + 1 = count(*) as whole
    from unnest(entries) u group by u.run_id, u.epoch
  ) g;

  -- The fence, in id order: no deadlocks. Whoever waits here behind a claim gets the row's newest
  -- version, and compares that one's epoch; whoever holds the lock makes the claim wait.
  -- The state is no condition of the scan: statistics say that hardly a run is `running`, and the
  -- planner would read every running run, once for each entry. `in` as a value is a hashed
  -- look-up in every plan.
  with fence as materialized (
    select r.id, r.epoch, r.state, r.watched_until from perdure.runs r
    where r.id = any (ids) order by r.id for share
  ),
  checked as materialized (
    select f.id, f.watched_until, f.state = 'running'
      and (f.id, f.epoch) in (select * from unnest(ids, epochs)) as current
    from fence f
  )
  select array_agg(c.id), array_agg(c.id) filter (where c.watched_until > t)
  into held, watched from checked c where c.current;
  t := perdure.clock();

  if watched is not null then
    perform perdure.tell('run:' || w, '') from unnest(watched) w;
  end if;

  if whole and cardinality(held) = cardinality(ids) then
    -- Nobody can append to a locked run: what is read here stays true.
    select bool_and(g.first = 1 + coalesce(
      (select max(l.seq) from perdure.log l where l.run_id = g.id), 0))
    into fit from unnest(ids, firsts) g (id, first);
    if fit then
      insert into perdure.log (run_id, seq, at, epoch, type, key, scope, branch, after, kind, name,
                               digest, occurrence, promise, state, took_ms, value, request)
      select u.run_id, u.seq, t, u.epoch, u.type, u.key, u.scope, u.branch, u.after, u.kind,
             u.name, u.digest, u.occurrence, u.promise, u.state, u.took_ms, u.value, u.request
      from unnest(entries) u;
      return;
    end if;
  end if;

  -- The rare way, row by row.
  for e in select u.* from unnest(entries) u order by u.run_id, u.seq loop
    if run is distinct from e.run_id then
      run := e.run_id;
      taken := false;
      following := 1 + coalesce((select max(l.seq) from perdure.log l where l.run_id = run), 0);
    end if;
    run_id := e.run_id;
    seq := e.seq;
    lost := e.run_id <> all (coalesce(held, '{}')) or not exists (
      select from perdure.runs r where r.id = e.run_id and r.epoch = e.epoch);
    if lost then
      next_seq := 0;
      return next;
    elsif not taken and e.seq = following then
      insert into perdure.log (run_id, seq, at, epoch, type, key, scope, branch, after, kind, name,
                               digest, occurrence, promise, state, took_ms, value, request)
      values (e.run_id, e.seq, t, e.epoch, e.type, e.key, e.scope, e.branch, e.after, e.kind,
              e.name, e.digest, e.occurrence, e.promise, e.state, e.took_ms, e.value, e.request);
      following := following + 1;
    elsif taken or e.seq > following or not exists (
      select from perdure.log l
      where l.run_id = e.run_id and l.seq = e.seq and l.epoch = e.epoch and l.type = e.type
        and l.key is not distinct from e.key and l.state is not distinct from e.state
        and l.value is not distinct from e.value
    ) then
      taken := true;
      next_seq := following;
      return next;
    end if;
  end loop;
end $$;
