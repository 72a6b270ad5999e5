-- Deleting old runs, a little at a time: a run's row goes first, in a transaction that decides; what
-- it had follows in portions (`leftovers`), so that no lock is held long and nobody ever sees half
-- a journal.

-- The first runs of families that may go: all of them ended before the time given for it, and
-- their idempotency keys' windows are over. Returns how many runs go; `dry`: would go.
create function perdure.forget(ids uuid[], ended_before timestamptz[], dry boolean)
returns int
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
declare
  family uuid[];
  gone int := 0;
begin
  for i in 1 .. cardinality(ids) loop
    -- A final run gets no more children, so what is found here is all.
    if not dry then
      perform from perdure.runs r where r.id = ids[i] for update;
    end if;
    with recursive below (id) as (
      select r.id from perdure.runs r where r.id = ids[i]
      union all select r.id from below b join perdure.runs r on r.parent = b.id
    )
    select array_agg(b.id) into family from below b;
    continue when family is null or exists (
      select from perdure.runs r where r.id = any (family)
        and (r.finished_at is null or r.finished_at > ended_before[i])
    ) or exists (
      select from perdure.idempotency d where d.run = any (family)
        and (d.expires_at is null or d.expires_at > perdure.clock())
    );
    gone := gone + cardinality(family);
    continue when dry;
    insert into perdure.leftovers (run) select f from unnest(family) f on conflict do nothing;
    -- Now it cannot be redriven any more, and those below it are for nobody.
    delete from perdure.runs r where r.id = ids[i];
  end loop;
  return gone;
end $$;

create function perdure.clear(most int, most_bytes bigint)
returns table (cleared int, remaining boolean)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  doomed uuid;
  room bigint := most_bytes;
  size bigint;
  upto int;
  nodes bytea[];
  n int;
begin
  cleared := 0;
  remaining := true;
  for doomed in
    select l.run from perdure.leftovers l order by l.run limit 100 for update skip locked
  loop
    perform from perdure.runs r where r.id = doomed for update;
    if exists (select from perdure.runs r where r.id = doomed and r.finished_at is null) then
      delete from perdure.leftovers l where l.run = doomed;  -- someone redrove it meanwhile
      continue;
    end if;
    delete from perdure.runs r where r.id = doomed;
    get diagnostics n = row_count;
    cleared := cleared + n;

    select max(p.seq), max(p.total) into upto, size from (
      select f.seq, f.own, sum(f.own) over (order by f.seq) as total from (
        select l.seq, coalesce(octet_length(l.value), 0)::bigint as own from perdure.log l
        where l.run_id = doomed order by l.seq limit most - cleared
      ) f
    ) p where p.total - p.own < room;
    delete from perdure.log l where l.run_id = doomed and l.seq <= upto;
    get diagnostics n = row_count;
    cleared := cleared + n;
    room := room - coalesce(size, 0);
    if cleared >= most or room <= 0 then
      return next;
      return;
    end if;

    select array_agg(p.node), max(p.total) into nodes, size from (
      select f.node, f.own, sum(f.own) over (order by f.node) as total from (
        select m.node, octet_length(m.body)::bigint as own from perdure.messages m
        where m.run = doomed order by m.node limit most - cleared
      ) f
    ) p where p.total - p.own < room;
    delete from perdure.messages m where m.run = doomed and m.node = any (nodes);
    get diagnostics n = row_count;
    cleared := cleared + n;
    room := room - coalesce(size, 0);
    if cleared >= most or room <= 0 then
      return next;
      return;
    end if;
    delete from perdure.leftovers l where l.run = doomed;
  end loop;
  remaining := exists (select from perdure.leftovers);
  return next;
end $$;

-- Shorten the logs of runs that are in a later generation, from the run after `from_n` on.
create function perdure.trim(from_n bigint, before timestamptz, most int, most_bytes bigint)
returns table (cleared int, next_n bigint)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  run record;
  room bigint := most_bytes;
  size bigint;
  upto int;
  n int;
  looked int := 0;
begin
  cleared := 0;
  for run in
    select r.id, r.n, r.since from perdure.runs r
    where r.since > 0 and r.n > from_n order by r.n limit 100
  loop
    looked := looked + 1;
    -- The row that began the generation stays: numbers are counted on from it.
    select max(p.seq), max(p.total) into upto, size from (
      select f.seq, f.own, sum(f.own) over (order by f.seq) as total from (
        select l.seq, coalesce(octet_length(l.value), 0)::bigint as own from perdure.log l
        where l.run_id = run.id and l.seq < run.since and l.at <= before
        order by l.seq limit most - cleared
      ) f
    ) p where p.total - p.own < room;
    delete from perdure.log l where l.run_id = run.id and l.seq <= upto;
    get diagnostics n = row_count;
    cleared := cleared + n;
    room := room - coalesce(size, 0);
    next_n := run.n;
    if cleared >= most or room <= 0 then
      next_n := run.n - 1;
      return next;
      return;
    end if;
  end loop;
  if looked < 100 then
    next_n := null;
  end if;
  return next;
end $$;
