-- What the gateway keeps: small documents that all workers share, the ledger, answers of models.

create table perdure.shared (
  key text collate "C" primary key,
  version bigint not null,
  body bytea not null
) with (
  fillfactor = 10,                    -- nearly all writes are updates in place
  autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 200
);
-- Compressed beyond 2 kB and always in the row: a document of some kB has room beside its next.
alter table perdure.shared alter body set storage main;

-- Compare-and-swap: all of the documents `keys` to their new `bodies` (an empty one deletes) if each
-- has the version given for it (0: is not there), else none. Answers with the documents that are
-- there then, and last with a row for the clock, read after the locks. A document's first version is
-- the time: one that was deleted and made again is never mistaken for the old one.
--
-- The locks are advisory, so that they hold for what is not there yet too; in one order over all
-- callers, so that nobody deadlocks. Two keys of one hash only wait for each other.
create function perdure.swap(
  reads text[], keys text[], versions bigint[], bodies bytea[], told text[]
)
returns table (at timestamptz, done boolean, key text, version bigint, body bytea)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
#variable_conflict use_column
declare
  fits boolean := true;
begin
  if cardinality(keys) > 0 then
    perform pg_advisory_xact_lock(1885696613, h.hash) from (
      select distinct hashtext(k) as hash from unnest(keys) k order by 1
    ) h;
    select bool_and(coalesce(s.version, 0) = w.version) into fits
    from unnest(keys, versions) w (key, version) left join perdure.shared s on s.key = w.key;
    if fits then
      update perdure.shared s set version = s.version + 1, body = w.body
      from unnest(keys, bodies) w (key, body) where s.key = w.key and w.body <> '';
      if 0 = any (versions) then
        insert into perdure.shared (key, version, body)
        select w.key, (extract(epoch from perdure.clock()) * 1000000)::bigint, w.body
        from unnest(keys, versions, bodies) w (key, version, body)
        where w.version = 0 and w.body <> '';
      end if;
      if '' = any (bodies) then
        delete from perdure.shared s using unnest(keys, bodies) w (key, body)
        where s.key = w.key and w.body = '';
      end if;
      perform perdure.tell('shared', k) from unnest(told) k;
    end if;
  end if;
  return query select null::timestamptz, null::boolean, s.key::text, s.version, s.body
  from perdure.shared s where s.key = any (keys || reads);
  at := perdure.clock();
  done := fits;
  return next;
end $$;

-- The ledger: one row for each contact with a provider. It is kept on its own, longer than runs.
create table perdure.charges (
  -- Run and id together are unique: runs are named by time, so that new rows of the index lie side
  -- by side, and a run's are found by it.
  run_id uuid not null,               -- all zeros: of no run
  id bytea not null,
  at timestamptz not null,
  key bytea,
  agent text not null,
  step text not null,
  feature text not null,
  tenant text not null,
  session text not null,
  provider text not null,
  model text not null,
  credential text not null,
  target text not null,
  route text not null,
  why text not null,
  source text not null,
  priced text not null,
  calls bigint not null,
  input bigint not null,
  output bigint not null,
  cache_read bigint not null,
  cache_write bigint not null,
  reasoning bigint not null,
  cost bigint not null,               -- nano-dollars, as is `saved`
  saved bigint not null,
  took_ms bigint not null,
  primary key (run_id, id)
);
create index charges_at on perdure.charges (at);
create index charges_agent on perdure.charges (agent, at);
create index charges_tenant on perdure.charges (tenant, at) where tenant <> '';

-- A charge as clients send it. Like perdure.entry it never gets another attribute.
create type perdure.charge_row as (
  id bytea, agent text, provider text, model text, source text, run_id uuid, key bytea,
  step text, feature text, tenant text, session text, credential text, target text, route text,
  why text, calls bigint, input bigint, output bigint, cache_read bigint, cache_write bigint,
  reasoning bigint, cost bigint, saved bigint, priced text, took_ms bigint
);

-- Those that are in the ledger already stay as they are: the call was repeated.
create function perdure.charge(charges perdure.charge_row[]) returns void
language plpgsql
as $$
declare
  t timestamptz := perdure.clock();
begin
  insert into perdure.charges (
    run_id, id, at, key, agent, step, feature, tenant, session, provider, model, credential, target,
    route, why, source, priced, calls, input, output, cache_read, cache_write, reasoning, cost,
    saved, took_ms)
  select coalesce(u.run_id, '00000000-0000-0000-0000-000000000000'), u.id, t, u.key, u.agent,
         u.step, u.feature, u.tenant, u.session, u.provider, u.model, u.credential, u.target,
         u.route, u.why, u.source, u.priced, u.calls, u.input, u.output, u.cache_read,
         u.cache_write, u.reasoning, u.cost, u.saved, u.took_ms
  from unnest(charges) u
  on conflict do nothing;
end $$;

-- A part of a stored request as clients send it. It never gets another attribute either.
create type perdure.message as (run uuid, node bytea, parent bytea, body bytea);

-- A group commit with charges, which are written whatever becomes of the rows, as the money is gone,
-- and with the requests that the rows name.
create function perdure.record_all(
  entries perdure.entry[], charges perdure.charge_row[], messages perdure.message[]
)
returns table (run_id uuid, seq int, lost boolean, next_seq int)
language plpgsql
as $$
begin
  if cardinality(charges) > 0 then
    perform perdure.charge(charges);
  end if;
  if cardinality(messages) > 0 then
    insert into perdure.messages (run, node, parent, body)
    select m.run, m.node, m.parent, m.body from unnest(messages) m
    where exists (select from perdure.runs r where r.id = m.run)
    on conflict do nothing;
  end if;
  return query select * from perdure.record(entries);
end $$;

-- Delete some of what was written before.
create function perdure.expire(before timestamptz, most int)
returns table (cleared int, remaining boolean)
language plpgsql
set plan_cache_mode to force_generic_plan set enable_seqscan to off set jit to off
as $$
begin
  delete from perdure.charges where ctid = any (array(
    select c.ctid from perdure.charges c where c.at < before order by c.at limit most
    for update skip locked
  ));
  get diagnostics cleared = row_count;
  remaining := cleared > 0 and exists (select from perdure.charges c where c.at < before);
  return next;
end $$;

-- Answers that are kept for others who ask the same.
create table perdure.answers (
  key bytea primary key,
  expires timestamptz not null,
  value bytea not null
);
create index answers_expires on perdure.answers (expires);

-- Of a run that was just claimed. A function that sees what was committed since its statement began, as
-- perdure.claim does: it may have claimed a run that the statement itself cannot see.
create function perdure.priority_of(run uuid) returns int language plpgsql volatile as $$
begin
  return (select r.priority from perdure.runs r where r.id = run);
end $$;
