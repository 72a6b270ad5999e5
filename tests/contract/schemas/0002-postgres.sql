-- perdure 0.1.0.dev0
-- migration 0001_tables 12e4319268c705c3dafe6a26d1c28a867c765dd9d2a213c2ce5ac4943ffb686d
-- migration 0002_journal 64d527f4046686d8f7d50820f8d3c164cb5cef4446720a890d64ea4c2c5e7a3e
-- migration 0003_moves 998051093f653cdf17b82ba637438516ad24a83bb2113e2e45c465161ec8e323
-- migration 0004_enqueue 77188537e1a1629684967d23e964850bf8cb2ea7f23f4dc465c686484cdd671c
-- migration 0005_claim 6c8067e26366f1a8e7abeb5ff45075f4a467e76780c04bd0cfa41c26fef2ea63
-- migration 0006_settle ef552b4e1c689937ae7fc6c3b80877d75c371574bd24e7f1277e48c9f82279ef
-- migration 0007_outside 4afcea97d832ed798ed18ebb94fb26331dc4ed03d7dc53bd89e1e5aeb15d9fb5
-- migration 0008_upkeep 2cd9d01b306118c2536fd3c3de3f659575c3159c2da8f493915e435bd4a11c5a
-- migration 0009_retention 7e672516125d3a4cb1cdd52f063b864bb7da9c9e346c4fd55574c9999c1127be
-- migration 0010_check fe07ff5cada7b19d109744ce5fba1a08fda7a2b1c010851bda5c7e9283c5f6e7
-- migration 0011_gateway 28a16bf5f09d79039bac26a75d3c9dc5c3257bc2fe842601b880e1be5a8151e9
--
-- PostgreSQL database dump
--


-- Dumped from database version 18.6
-- Dumped by pg_dump version 18.6

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: perdure; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA perdure;


--
-- Name: charge_row; Type: TYPE; Schema: perdure; Owner: -
--

CREATE TYPE perdure.charge_row AS (
	id bytea,
	agent text,
	provider text,
	model text,
	source text,
	run_id uuid,
	key bytea,
	step text,
	feature text,
	tenant text,
	session text,
	credential text,
	target text,
	route text,
	why text,
	calls bigint,
	input bigint,
	output bigint,
	cache_read bigint,
	cache_write bigint,
	reasoning bigint,
	cost bigint,
	saved bigint,
	priced text,
	took_ms bigint
);


--
-- Name: entry; Type: TYPE; Schema: perdure; Owner: -
--

CREATE TYPE perdure.entry AS (
	run_id uuid,
	seq integer,
	epoch integer,
	type text,
	key bytea,
	scope bytea,
	branch text,
	after bytea,
	kind text,
	name text,
	digest bytea,
	occurrence integer,
	promise text,
	state text,
	took_ms integer,
	value bytea,
	request bytea
);


--
-- Name: message; Type: TYPE; Schema: perdure; Owner: -
--

CREATE TYPE perdure.message AS (
	run uuid,
	node bytea,
	parent bytea,
	body bytea
);


--
-- Name: new_run; Type: TYPE; Schema: perdure; Owner: -
--

CREATE TYPE perdure.new_run AS (
	id uuid,
	agent text,
	queue text,
	tenant text,
	priority integer,
	session text,
	cap text,
	cap_limit integer,
	delay interval,
	timeout interval,
	max_attempts integer,
	parent uuid,
	parent_key bytea,
	depth integer,
	generation integer,
	labels jsonb,
	trace text,
	idempotency_key text,
	idempotency_body bytea,
	idempotency_window interval,
	lease_to text,
	watch boolean,
	input bytea
);


--
-- Name: settlement; Type: TYPE; Schema: perdure; Owner: -
--

CREATE TYPE perdure.settlement AS (
	id uuid,
	epoch integer,
	state text,
	attempts integer,
	result bytea,
	error bytea,
	waits jsonb,
	wake_at timestamp with time zone,
	wake_in interval,
	names text[],
	afters integer[],
	report bytea,
	next_input bytea,
	taken integer[]
);


--
-- Name: verdict; Type: TYPE; Schema: perdure; Owner: -
--

CREATE TYPE perdure.verdict AS (
	id uuid,
	epoch integer,
	last_entry integer,
	strikes integer,
	strikes_seq integer,
	alone boolean,
	dead boolean,
	report bytea
);


--
-- Name: about(text[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.about(VARIADIC pairs text[]) RETURNS json
    LANGUAGE sql
    AS $$
  select ('{' || string_agg(
    to_json(pairs[i])::text || ':' || coalesce(to_json(pairs[i + 1])::text, 'null'), ',' order by i
  ) || '}')::json
  from generate_series(1, cardinality(pairs), 2) i
$$;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: runs; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.runs (
    id uuid NOT NULL,
    n bigint NOT NULL,
    agent text NOT NULL,
    queue text NOT NULL,
    tenant text NOT NULL,
    priority integer NOT NULL,
    state text NOT NULL,
    blocked_by text,
    head boolean DEFAULT false NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    max_attempts integer NOT NULL,
    session text,
    cap text,
    cap_limit integer,
    worker text,
    reserved_by text,
    open boolean GENERATED ALWAYS AS (((state = 'queued'::text) AND (reserved_by IS NULL))) STORED NOT NULL,
    alone boolean DEFAULT false NOT NULL,
    strikes integer DEFAULT 0 NOT NULL,
    strikes_seq integer DEFAULT 0 NOT NULL,
    gone boolean DEFAULT true NOT NULL,
    cancel_requested boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    dismissed_at timestamp with time zone,
    ready_at timestamp with time zone,
    wake_at timestamp with time zone,
    deadline_at timestamp with time zone,
    watched_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    idempotency_window interval,
    depth integer NOT NULL,
    generation integer NOT NULL,
    since integer DEFAULT 0 NOT NULL,
    parent uuid,
    parent_key bytea,
    trace text,
    waits jsonb DEFAULT '[]'::jsonb NOT NULL,
    labels jsonb DEFAULT '{}'::jsonb NOT NULL,
    error bytea,
    result bytea,
    input bytea
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000', autovacuum_analyze_scale_factor='0.05', autovacuum_vacuum_cost_delay='1');
ALTER TABLE ONLY perdure.runs ALTER COLUMN error SET STORAGE EXTERNAL;
ALTER TABLE ONLY perdure.runs ALTER COLUMN result SET STORAGE EXTERNAL;
ALTER TABLE ONLY perdure.runs ALTER COLUMN input SET STORAGE EXTERNAL;


--
-- Name: add_signal(perdure.runs, text, bytea, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.add_signal(run perdure.runs, name text, payload bytea, dedupe text) RETURNS integer
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: append(perdure.runs, text, text, json); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.append(run perdure.runs, type text, name text, value json) RETURNS void
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
begin
  insert into perdure.log (run_id, seq, at, epoch, type, name, value)
  values (run.id,
          1 + coalesce((select max(l.seq) from perdure.log l where l.run_id = run.id), 0),
          perdure.clock(), run.epoch, append.type, append.name,
          convert_to(append.value::text, 'UTF8'));
  perform perdure.tell_run(run);
end $$;


--
-- Name: beat(text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.beat(worker text) RETURNS TABLE(known boolean, backend integer, neighbour text, place integer, calm interval)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: cancel(uuid, text, bytea, bytea); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.cancel(run_id uuid, reason text, failure bytea, report bytea) RETURNS SETOF perdure.runs
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: charge(perdure.charge_row[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.charge(charges perdure.charge_row[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
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


--
-- Name: claim(text, text[], integer, boolean, uuid); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.claim(by_worker text, queues text[], wanted integer, idle boolean, root uuid) RETURNS TABLE(reserved boolean, id uuid, agent text, epoch integer, input bytea, attempts integer, max_attempts integer, next_seq integer, tenant text, session text, queue text, depth integer, parent uuid, generation integer, labels jsonb, trace text, created_at timestamp with time zone, deadline_at timestamp with time zone, alone boolean, gone boolean, cancel_requested boolean, now timestamp with time zone)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
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


--
-- Name: clear(integer, bigint); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.clear(most integer, most_bytes bigint) RETURNS TABLE(cleared integer, remaining boolean)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: clock(); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.clock() RETURNS timestamp with time zone
    LANGUAGE sql
    AS $$
  select clock_timestamp()
    + coalesce(nullif(current_setting('perdure.clock_shift', true), ''), '0')::interval
$$;


--
-- Name: dismiss(uuid, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.dismiss(run_id uuid, who text) RETURNS SETOF perdure.runs
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: ended(perdure.runs, bytea); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.ended(run perdure.runs, report bytea) RETURNS void
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: enqueue(perdure.new_run[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.enqueue(given perdure.new_run[]) RETURNS TABLE(place integer, id uuid, state text, deduplicated boolean, leased boolean, next_seq integer, created_at timestamp with time zone, deadline_at timestamp with time zone, cancel_requested boolean, now timestamp with time zone)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: enqueue_in_order(perdure.new_run[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.enqueue_in_order(given perdure.new_run[]) RETURNS TABLE(place integer, id uuid, state text, deduplicated boolean, leased boolean, next_seq integer, created_at timestamp with time zone, deadline_at timestamp with time zone, cancel_requested boolean, now timestamp with time zone)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: expire(timestamp with time zone, integer); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.expire(before timestamp with time zone, most integer) RETURNS TABLE(cleared integer, remaining boolean)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
begin
  delete from perdure.charges where ctid = any (array(
    select c.ctid from perdure.charges c where c.at < before order by c.at limit most
    for update skip locked
  ));
  get diagnostics cleared = row_count;
  remaining := cleared > 0 and exists (select from perdure.charges c where c.at < before);
  return next;
end $$;


--
-- Name: family(text[], uuid, integer); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.family(queues text[], root uuid, most integer) RETURNS uuid[]
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: finish(perdure.runs, text, bytea, bytea); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.finish(run perdure.runs, into_state text, failure bytea, report bytea) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
  update perdure.runs
  set state = into_state, blocked_by = null, head = false, worker = null, reserved_by = null,
      finished_at = perdure.clock(), wake_at = null, waits = '[]', result = null, error = failure
  where id = run.id;
  perform perdure.ended(run, report);
end $$;


--
-- Name: forget(uuid[], timestamp with time zone[], boolean); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.forget(ids uuid[], ended_before timestamp with time zone[], dry boolean) RETURNS integer
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: free_session(perdure.runs); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.free_session(run perdure.runs) RETURNS void
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: free_slot(perdure.runs); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.free_slot(run perdure.runs) RETURNS void
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: hold(uuid); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.hold(run_id uuid) RETURNS perdure.runs
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: in_turn(text[], integer, integer); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.in_turn(queues text[], level integer, most integer) RETURNS uuid[]
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
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


--
-- Name: inspect(uuid); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.inspect(of_run uuid) RETURNS TABLE(code text, subject text, detail text)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_custom_plan'
    SET jit TO 'off'
    AS $$
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


--
-- Name: join(text, text, integer, text, text, text[], interval, integer, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure."join"(worker text, host text, pid integer, birth text, version text, queues text[], lease interval, place integer, process text) RETURNS void
    LANGUAGE plpgsql
    AS $$
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


--
-- Name: lapsed(text[], interval); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.lapsed(observers text[], blind interval) RETURNS SETOF text
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: lead(text, interval); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.lead(by_worker text, ttl interval) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
declare
  t timestamptz := perdure.clock();
begin
  insert into perdure.leader as l (one, worker, until) values (1, by_worker, t + ttl)
  on conflict (one) do update set worker = excluded.worker, until = excluded.until
  where l.worker = excluded.worker or l.until <= t;
  return found;
end $$;


--
-- Name: leased(text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.leased(by_worker text) RETURNS TABLE(id uuid, epoch integer, strikes integer, strikes_seq integer, alone boolean, last_entry integer)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
begin
  return query
  select r.id, r.epoch, r.strikes, r.strikes_seq, r.alone, coalesce((
    select l.seq from perdure.log l
    where l.run_id = r.id and l.type = 'entry' order by l.seq desc limit 1), 0)
  from perdure.runs r where r.worker = by_worker;
end $$;


--
-- Name: lock_all(text, text[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.lock_all(kind text, names text[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
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


--
-- Name: lock_around(uuid[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.lock_around(ids uuid[]) RETURNS void
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: lock_soon(uuid[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.lock_soon(ids uuid[]) RETURNS void
    LANGUAGE plpgsql
    SET lock_timeout TO '250ms'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
begin
  perform from perdure.runs r where r.id = any (ids) order by r.id for no key update;
exception when lock_not_available then
  -- They are skipped.
end $$;


--
-- Name: lockless(text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.lockless(but text) RETURNS TABLE(worker text, place integer, heard interval, lease interval)
    LANGUAGE sql
    AS $$
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


--
-- Name: make_ready(perdure.runs, json); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.make_ready(run perdure.runs, about json) RETURNS text
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: mend(text, uuid, uuid, bytea); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.mend(code text, run_id uuid, about_child uuid, report bytea) RETURNS boolean
    LANGUAGE plpgsql
    SET jit TO 'off'
    AS $$
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


--
-- Name: orphan(text, boolean, perdure.verdict[], bytea); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.orphan(by_worker text, is_gone boolean, given perdure.verdict[], failure bytea) RETURNS TABLE(orphaned integer, remaining integer)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: priority_of(uuid); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.priority_of(run uuid) RETURNS integer
    LANGUAGE plpgsql
    AS $$
begin
  return (select r.priority from perdure.runs r where r.id = run);
end $$;


--
-- Name: record(perdure.entry[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.record(entries perdure.entry[]) RETURNS TABLE(run_id uuid, seq integer, lost boolean, next_seq integer)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: record_all(perdure.entry[], perdure.charge_row[], perdure.message[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.record_all(entries perdure.entry[], charges perdure.charge_row[], messages perdure.message[]) RETURNS TABLE(run_id uuid, seq integer, lost boolean, next_seq integer)
    LANGUAGE plpgsql
    AS $$
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


--
-- Name: redrive(uuid); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.redrive(run_id uuid) RETURNS SETOF perdure.runs
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: refuse(perdure.runs, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.refuse(run perdure.runs, message text) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
  raise exception using message = refuse.message, errcode = 'PD409', detail = run.state;
end $$;


--
-- Name: resolve(uuid, bytea, bytea, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.resolve(run_id uuid, key bytea, value bytea, who text) RETURNS SETOF perdure.runs
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: session_taken(text, text, bigint); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.session_taken(of_tenant text, of_session text, of_n bigint) RETURNS boolean
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
begin
  return exists (
    select from perdure.runs r where r.tenant = of_tenant and r.session = of_session
      and r.parent is null and r.finished_at is null and r.n < of_n
  ) or exists (
    select from perdure.runs r where r.tenant = of_tenant and r.session = of_session
      and r.head and r.n <> of_n
  );
end $$;


--
-- Name: settle(perdure.settlement[], perdure.entry[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.settle(given perdure.settlement[], records perdure.entry[]) RETURNS TABLE(id uuid, epoch integer, state text)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: signal(uuid, text, bytea, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.signal(run_id uuid, name text, payload bytea, dedupe text) RETURNS integer
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: strays(text, uuid, integer); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.strays(kind text, after uuid, most integer) RETURNS TABLE(run uuid, stray boolean)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: swap(text[], text[], bigint[], bytea[], text[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.swap(reads text[], keys text[], versions bigint[], bodies bytea[], told text[]) RETURNS TABLE(at timestamp with time zone, done boolean, key text, version bigint, body bytea)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: tell(text, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.tell(topic text, payload text) RETURNS void
    LANGUAGE sql
    AS $$
  select pg_notify('perdure', topic || '|' ||
    case when octet_length(topic) + octet_length(payload) < 7900 then payload else '*' end)
$$;


--
-- Name: tell_holder(perdure.runs); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.tell_holder(run perdure.runs) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
  if run.worker is not null then
    perform perdure.tell('worker:' || run.worker, run.id::text);
  end if;
end $$;


--
-- Name: tell_run(perdure.runs); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.tell_run(run perdure.runs) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
  if run.watched_until > perdure.clock() then
    perform perdure.tell('run:' || run.id, '');
  end if;
end $$;


--
-- Name: trim(bigint, timestamp with time zone, integer, bigint); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure."trim"(from_n bigint, before timestamp with time zone, most integer, most_bytes bigint) RETURNS TABLE(cleared integer, next_n bigint)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: wake_due(integer); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.wake_due(most integer) RETURNS TABLE(woken integer, next_in interval)
    LANGUAGE plpgsql
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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


--
-- Name: watch(uuid); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.watch(run_id uuid) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
  update perdure.runs r set watched_until = perdure.clock() + interval '1 minute'
  where r.id = run_id and r.watched_until < perdure.clock() + interval '30 seconds';
end $$;


--
-- Name: agents; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.agents (
    name text NOT NULL,
    queue text NOT NULL,
    framework text NOT NULL,
    description text NOT NULL,
    input_schema jsonb,
    durability text NOT NULL,
    intake jsonb NOT NULL,
    announced_at timestamp with time zone NOT NULL
);


--
-- Name: answers; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.answers (
    key bytea NOT NULL,
    expires timestamp with time zone NOT NULL,
    value bytea NOT NULL
);


--
-- Name: charges; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.charges (
    run_id uuid NOT NULL,
    id bytea NOT NULL,
    at timestamp with time zone NOT NULL,
    key bytea,
    agent text NOT NULL,
    step text NOT NULL,
    feature text NOT NULL,
    tenant text NOT NULL,
    session text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    credential text NOT NULL,
    target text NOT NULL,
    route text NOT NULL,
    why text NOT NULL,
    source text NOT NULL,
    priced text NOT NULL,
    calls bigint NOT NULL,
    input bigint NOT NULL,
    output bigint NOT NULL,
    cache_read bigint NOT NULL,
    cache_write bigint NOT NULL,
    reasoning bigint NOT NULL,
    cost bigint NOT NULL,
    saved bigint NOT NULL,
    took_ms bigint NOT NULL
);


--
-- Name: idempotency; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.idempotency (
    tenant text NOT NULL,
    agent text NOT NULL,
    key text NOT NULL,
    body bytea NOT NULL,
    run uuid NOT NULL,
    expires_at timestamp with time zone
);


--
-- Name: keys; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.keys (
    id text NOT NULL,
    name text NOT NULL,
    hash bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone
);


--
-- Name: leader; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.leader (
    one integer NOT NULL,
    worker text NOT NULL,
    until timestamp with time zone NOT NULL,
    CONSTRAINT leader_one_check CHECK ((one = 1))
)
WITH (fillfactor='10');


--
-- Name: leftovers; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.leftovers (
    run uuid NOT NULL
);


--
-- Name: log; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.log (
    run_id uuid NOT NULL,
    seq integer NOT NULL,
    at timestamp with time zone NOT NULL,
    epoch integer NOT NULL,
    type text NOT NULL,
    key bytea,
    scope bytea,
    branch text,
    after bytea,
    kind text,
    name text,
    digest bytea,
    occurrence integer,
    promise text,
    state text,
    took_ms integer,
    value bytea,
    request bytea
);
ALTER TABLE ONLY perdure.log ALTER COLUMN value SET STORAGE EXTERNAL;
ALTER TABLE ONLY perdure.log ALTER COLUMN request SET STORAGE EXTERNAL;


--
-- Name: messages; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.messages (
    run uuid NOT NULL,
    node bytea NOT NULL,
    parent bytea NOT NULL,
    body bytea NOT NULL
);


--
-- Name: runs_n_seq; Type: SEQUENCE; Schema: perdure; Owner: -
--

ALTER TABLE perdure.runs ALTER COLUMN n ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.runs_n_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: schema_migrations; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    applied_at timestamp with time zone NOT NULL
);


--
-- Name: shared; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.shared (
    key text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    body bytea NOT NULL
)
WITH (fillfactor='10', autovacuum_vacuum_scale_factor='0.1', autovacuum_vacuum_threshold='200');
ALTER TABLE ONLY perdure.shared ALTER COLUMN body SET STORAGE MAIN;


--
-- Name: signals; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.signals (
    run uuid NOT NULL,
    n integer NOT NULL,
    name text NOT NULL,
    at timestamp with time zone NOT NULL,
    dedupe text,
    read boolean DEFAULT false NOT NULL,
    payload bytea NOT NULL
);
ALTER TABLE ONLY perdure.signals ALTER COLUMN payload SET STORAGE EXTERNAL;


--
-- Name: slots; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.slots (
    cap text NOT NULL,
    run uuid NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.05');


--
-- Name: worker_places; Type: SEQUENCE; Schema: perdure; Owner: -
--

CREATE SEQUENCE perdure.worker_places
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
    CYCLE;


--
-- Name: workers; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.workers (
    id text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    birth text DEFAULT ''::text NOT NULL,
    version text NOT NULL,
    queues text[] NOT NULL,
    lease interval NOT NULL,
    place integer,
    process text NOT NULL,
    joined_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    resumed_at timestamp with time zone
)
WITH (fillfactor='30', autovacuum_vacuum_scale_factor='0.1', autovacuum_vacuum_threshold='50');


--
-- Data for Name: agents; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.agents VALUES ('agent', 'agent', 'python', 'An agent.', NULL, 'journal', '{"cap": null, "timeout": null, "priority": 0, "max_attempts": 5}', '2026-11-21 22:50:52.958125+00');


--
-- Data for Name: answers; Type: TABLE DATA; Schema: perdure; Owner: -
--



--
-- Data for Name: charges; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.charges VALUES ('0190a000-0000-7000-8000-000000000008', '\x00000000000000000000000000000000', '2026-11-21 22:50:52.959265+00', NULL, 'agent', '', '', '', '', 'anthropic', 'model', '', '', '', '', 'sent', 'unknown', 1, 0, 0, 0, 0, 0, 42, 0, 0);


--
-- Data for Name: idempotency; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.idempotency VALUES ('acme', 'agent', 'key', '\x626f6479', '0190a000-0000-7000-8000-000000000001', '2126-10-28 22:50:52.934908+00');


--
-- Data for Name: keys; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.keys VALUES ('k1', 'ci', '\x2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b', '{runs:read}', '2026-11-21 22:50:52.971425+00', NULL, NULL, NULL);


--
-- Data for Name: leader; Type: TABLE DATA; Schema: perdure; Owner: -
--



--
-- Data for Name: leftovers; Type: TABLE DATA; Schema: perdure; Owner: -
--



--
-- Data for Name: log; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000001', 1, '2026-11-21 22:50:52.909751+00', 1, 'entry', '\x6669727374', '\x73636f7065', '0.1', '\x6166746572', 'tool', 'send', '\x646967657374', 0, 'once', 'done', 7, '\x2273756363656564656422', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000001', 2, '2026-11-21 22:50:52.911693+00', 1, 'delta', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '\x5b2274657874225d', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000002', 1, '2026-11-21 22:50:52.912449+00', 1, 'entry', '\x6669727374', '\x73636f7065', '0.1', '\x6166746572', 'tool', 'send', '\x646967657374', 0, 'once', 'done', 7, '\x2277616974696e6722', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000002', 2, '2026-11-21 22:50:52.912972+00', 1, 'delta', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '\x5b2274657874225d', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000005', 1, '2026-11-21 22:50:52.913443+00', 1, 'entry', '\x6669727374', '\x73636f7065', '0.1', '\x6166746572', 'tool', 'send', '\x646967657374', 0, 'once', 'done', 7, '\x226465616422', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000005', 2, '2026-11-21 22:50:52.913885+00', 1, 'delta', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '\x5b2274657874225d', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000006', 1, '2026-11-21 22:50:52.914324+00', 1, 'entry', '\x6669727374', '\x73636f7065', '0.1', '\x6166746572', 'tool', 'send', '\x646967657374', 0, 'once', 'done', 7, '\x2263616e63656c6c656422', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000006', 2, '2026-11-21 22:50:52.914807+00', 1, 'delta', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '\x5b2274657874225d', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000007', 1, '2026-11-21 22:50:52.915244+00', 1, 'entry', '\x6669727374', '\x73636f7065', '0.1', '\x6166746572', 'tool', 'send', '\x646967657374', 0, 'once', 'done', 7, '\x22636f6e74696e75656422', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000007', 2, '2026-11-21 22:50:52.915637+00', 1, 'delta', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '\x5b2274657874225d', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000008', 1, '2026-11-21 22:50:52.916023+00', 1, 'entry', '\x6669727374', '\x73636f7065', '0.1', '\x6166746572', 'tool', 'send', '\x646967657374', 0, 'once', 'done', 7, '\x2272756e6e696e6722', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000008', 2, '2026-11-21 22:50:52.916406+00', 1, 'delta', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '\x5b2274657874225d', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000002', 3, '2026-11-21 22:50:52.939944+00', 1, 'signal', NULL, NULL, NULL, NULL, NULL, 'other', NULL, NULL, NULL, NULL, NULL, '\x7b226e223a317d', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000006', 3, '2026-11-21 22:50:52.947356+00', 1, 'status', NULL, NULL, NULL, NULL, NULL, 'cancelling', NULL, NULL, NULL, NULL, NULL, '\x7b22726561736f6e223a22656e6f756768227d', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000008', 3, '2026-11-21 22:50:52.960193+00', 1, 'entry', '\x33', '\x73636f7065', '0.1', '\x6166746572', 'tool', 'send', '\x646967657374', 0, 'once', 'done', 7, '\x31', NULL);
INSERT INTO perdure.log VALUES ('0190a000-0000-7000-8000-000000000008', 4, '2026-11-21 22:50:52.991412+00', 1, 'status', NULL, NULL, NULL, NULL, NULL, 'queued', NULL, NULL, NULL, NULL, NULL, '\x7b22726561736f6e223a226f727068616e6564222c22776f726b6572223a22776f726b6572227d', NULL);


--
-- Data for Name: messages; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.messages VALUES ('0190a000-0000-7000-8000-000000000001', '\x545ea538461003efdc8c81c244531b003f6f26cfccf6c0073b3239fdedf49446', '\x', '\x7b22726f6c65223a2275736572227d');


--
-- Data for Name: runs; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.runs OVERRIDING SYSTEM VALUE VALUES ('0190a000-0000-7000-8000-000000000003', 3, 'agent', 'default', 'acme', 0, 'queued', NULL, true, 0, 0, 5, 'talk', NULL, NULL, NULL, NULL, DEFAULT, false, 0, 0, true, false, '2026-11-21 22:50:52.880628+00', NULL, NULL, NULL, '2026-11-21 22:50:52.880628+00', NULL, NULL, '-infinity', NULL, 0, 1, 0, NULL, NULL, NULL, '[]', '{"team": "a"}', NULL, NULL, '\x22696e70757422');
INSERT INTO perdure.runs OVERRIDING SYSTEM VALUE VALUES ('0190a000-0000-7000-8000-000000000004', 4, 'agent', 'default', 'acme', 3, 'blocked', 'session', false, 0, 0, 5, 'talk', NULL, NULL, NULL, NULL, DEFAULT, false, 0, 0, true, false, '2026-11-21 22:50:52.882354+00', NULL, NULL, NULL, '2026-11-21 22:50:52.882354+00', NULL, NULL, '-infinity', NULL, 0, 1, 0, NULL, NULL, NULL, '[]', '{"team": "a"}', NULL, NULL, '\x22696e70757422');
INSERT INTO perdure.runs OVERRIDING SYSTEM VALUE VALUES ('0190a000-0000-7000-8000-000000000001', 1, 'agent', 'default', 'acme', 0, 'succeeded', NULL, false, 1, 0, 5, NULL, NULL, NULL, NULL, NULL, DEFAULT, false, 0, 0, true, false, '2026-11-21 22:50:52.873458+00', '2026-11-21 22:50:52.873458+00', '2026-11-21 22:50:52.932992+00', NULL, '2026-11-21 22:50:52.873458+00', NULL, NULL, '-infinity', '36500 days', 0, 1, 0, NULL, NULL, NULL, '[]', '{"team": "a"}', NULL, '\x7b22616e73776572223a34327d', '\x22696e70757422');
INSERT INTO perdure.runs OVERRIDING SYSTEM VALUE VALUES ('0190a000-0000-7000-8000-000000000002', 2, 'agent', 'default', 'acme', 0, 'waiting', NULL, false, 1, 0, 5, NULL, NULL, NULL, NULL, NULL, DEFAULT, false, 0, 0, true, false, '2026-11-21 22:50:52.878059+00', '2026-11-21 22:50:52.878059+00', NULL, NULL, '2026-11-21 22:50:52.878059+00', NULL, NULL, '-infinity', NULL, 0, 1, 0, NULL, NULL, NULL, '[{"name": "go", "after": 0, "reason": "signal"}]', '{"team": "a"}', NULL, NULL, '\x22696e70757422');
INSERT INTO perdure.runs OVERRIDING SYSTEM VALUE VALUES ('0190a000-0000-7000-8000-000000000005', 5, 'agent', 'default', 'acme', 0, 'dead', NULL, false, 1, 5, 5, NULL, NULL, NULL, NULL, NULL, DEFAULT, false, 0, 0, true, false, '2026-11-21 22:50:52.883272+00', '2026-11-21 22:50:52.883272+00', '2026-11-21 22:50:52.944904+00', NULL, '2026-11-21 22:50:52.883272+00', NULL, NULL, '-infinity', NULL, 0, 1, 0, NULL, NULL, NULL, '[]', '{"team": "a"}', '\x7b226d657373616765223a226e6f227d', NULL, '\x22696e70757422');
INSERT INTO perdure.runs OVERRIDING SYSTEM VALUE VALUES ('0190a000-0000-7000-8000-000000000006', 6, 'agent', 'default', 'acme', 0, 'cancelled', NULL, false, 1, 0, 5, NULL, NULL, NULL, NULL, NULL, DEFAULT, false, 0, 0, true, true, '2026-11-21 22:50:52.884104+00', '2026-11-21 22:50:52.884104+00', '2026-11-21 22:50:52.948423+00', NULL, '2026-11-21 22:50:52.884104+00', NULL, NULL, '-infinity', NULL, 0, 1, 0, NULL, NULL, NULL, '[]', '{"team": "a"}', '\x7b226d657373616765223a22656e6f756768227d', NULL, '\x22696e70757422');
INSERT INTO perdure.runs OVERRIDING SYSTEM VALUE VALUES ('0190a000-0000-7000-8000-000000000007', 7, 'agent', 'default', 'acme', 0, 'queued', NULL, false, 1, 0, 5, NULL, NULL, NULL, NULL, NULL, DEFAULT, false, 0, 0, true, false, '2026-11-21 22:50:52.88479+00', '2026-11-21 22:50:52.88479+00', NULL, NULL, '2026-11-21 22:50:52.949231+00', NULL, NULL, '-infinity', NULL, 0, 2, 2, NULL, NULL, NULL, '[]', '{"team": "a"}', NULL, NULL, '\x227365636f6e6422');
INSERT INTO perdure.runs OVERRIDING SYSTEM VALUE VALUES ('0190a000-0000-7000-8000-000000000008', 8, 'agent', 'default', 'acme', 0, 'queued', NULL, false, 1, 0, 5, NULL, 'cap', 2, NULL, NULL, DEFAULT, false, 0, 0, false, false, '2026-11-21 22:50:52.885479+00', '2026-11-21 22:50:52.885479+00', NULL, NULL, '2026-11-21 22:50:52.885479+00', NULL, '2126-10-28 22:50:52.885479+00', '-infinity', NULL, 0, 1, 0, NULL, NULL, NULL, '[]', '{"team": "a"}', NULL, NULL, '\x22696e70757422');


--
-- Data for Name: schema_migrations; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.schema_migrations VALUES (1, '0001_tables', '2026-11-21 22:50:52.807762+00');
INSERT INTO perdure.schema_migrations VALUES (2, '0002_journal', '2026-11-21 22:50:52.810951+00');
INSERT INTO perdure.schema_migrations VALUES (3, '0003_moves', '2026-11-21 22:50:52.812628+00');
INSERT INTO perdure.schema_migrations VALUES (4, '0004_enqueue', '2026-11-21 22:50:52.814315+00');
INSERT INTO perdure.schema_migrations VALUES (5, '0005_claim', '2026-11-21 22:50:52.815761+00');
INSERT INTO perdure.schema_migrations VALUES (6, '0006_settle', '2026-11-21 22:50:52.817641+00');
INSERT INTO perdure.schema_migrations VALUES (7, '0007_outside', '2026-11-21 22:50:52.819691+00');
INSERT INTO perdure.schema_migrations VALUES (8, '0008_upkeep', '2026-11-21 22:50:52.824791+00');
INSERT INTO perdure.schema_migrations VALUES (9, '0009_retention', '2026-11-21 22:50:52.826586+00');
INSERT INTO perdure.schema_migrations VALUES (10, '0010_check', '2026-11-21 22:50:52.827956+00');
INSERT INTO perdure.schema_migrations VALUES (11, '0011_gateway', '2026-11-21 22:50:52.838303+00');


--
-- Data for Name: shared; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.shared VALUES ('halt/agent/agent', 1795301452969478, '\x7b22776879223a2266726f7a656e227d');


--
-- Data for Name: signals; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.signals VALUES ('0190a000-0000-7000-8000-000000000002', 1, 'other', '2026-11-21 22:50:52.939082+00', 'd', false, '\x226b65707422');


--
-- Data for Name: slots; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.slots VALUES ('cap', '0190a000-0000-7000-8000-000000000008');


--
-- Data for Name: workers; Type: TABLE DATA; Schema: perdure; Owner: -
--



--
-- Name: runs_n_seq; Type: SEQUENCE SET; Schema: perdure; Owner: -
--

SELECT pg_catalog.setval('perdure.runs_n_seq', 8, true);


--
-- Name: worker_places; Type: SEQUENCE SET; Schema: perdure; Owner: -
--

SELECT pg_catalog.setval('perdure.worker_places', 1, true);


--
-- Name: agents agents_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.agents
    ADD CONSTRAINT agents_pkey PRIMARY KEY (name);


--
-- Name: answers answers_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.answers
    ADD CONSTRAINT answers_pkey PRIMARY KEY (key);


--
-- Name: charges charges_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.charges
    ADD CONSTRAINT charges_pkey PRIMARY KEY (run_id, id);


--
-- Name: idempotency idempotency_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (tenant, agent, key);


--
-- Name: keys keys_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.keys
    ADD CONSTRAINT keys_pkey PRIMARY KEY (id);


--
-- Name: leader leader_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.leader
    ADD CONSTRAINT leader_pkey PRIMARY KEY (one);


--
-- Name: leftovers leftovers_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.leftovers
    ADD CONSTRAINT leftovers_pkey PRIMARY KEY (run);


--
-- Name: log log_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.log
    ADD CONSTRAINT log_pkey PRIMARY KEY (run_id, seq);


--
-- Name: messages messages_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (run, node);


--
-- Name: runs runs_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);


--
-- Name: schema_migrations schema_migrations_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);


--
-- Name: shared shared_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.shared
    ADD CONSTRAINT shared_pkey PRIMARY KEY (key);


--
-- Name: signals signals_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.signals
    ADD CONSTRAINT signals_pkey PRIMARY KEY (run, n);


--
-- Name: slots slots_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.slots
    ADD CONSTRAINT slots_pkey PRIMARY KEY (cap, run);


--
-- Name: workers workers_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);


--
-- Name: answers_expires; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX answers_expires ON perdure.answers USING btree (expires);


--
-- Name: charges_agent; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX charges_agent ON perdure.charges USING btree (agent, at);


--
-- Name: charges_at; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX charges_at ON perdure.charges USING btree (at);


--
-- Name: charges_tenant; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX charges_tenant ON perdure.charges USING btree (tenant, at) WHERE (tenant <> ''::text);


--
-- Name: idempotency_expiry; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX idempotency_expiry ON perdure.idempotency USING btree (expires_at) WHERE (expires_at IS NOT NULL);


--
-- Name: idempotency_run; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX idempotency_run ON perdure.idempotency USING btree (run);


--
-- Name: log_blobs; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX log_blobs ON perdure.log USING btree (value) WHERE (SUBSTRING(value FROM 1 FOR 1) = '\x01'::bytea);


--
-- Name: runs_blob_inputs; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_blob_inputs ON perdure.runs USING btree (input) WHERE (SUBSTRING(input FROM 1 FOR 1) = '\x01'::bytea);


--
-- Name: runs_blob_results; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_blob_results ON perdure.runs USING btree (result) WHERE (SUBSTRING(result FROM 1 FOR 1) = '\x01'::bytea);


--
-- Name: runs_by_age; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_by_age ON perdure.runs USING btree (n);


--
-- Name: runs_by_state; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_by_state ON perdure.runs USING btree (state, n) INCLUDE (queue);


--
-- Name: runs_capped; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_capped ON perdure.runs USING btree (cap, priority DESC, n) WHERE (blocked_by = 'cap'::text);


--
-- Name: runs_children; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_children ON perdure.runs USING btree (parent, n) WHERE (parent IS NOT NULL);


--
-- Name: runs_generations; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_generations ON perdure.runs USING btree (n) WHERE (since > 0);


--
-- Name: runs_leased; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_leased ON perdure.runs USING btree (worker) WHERE (worker IS NOT NULL);


--
-- Name: runs_open; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_open ON perdure.runs USING btree (queue, priority DESC, tenant, ready_at, n) WHERE open;


--
-- Name: runs_reserved; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_reserved ON perdure.runs USING btree (reserved_by) WHERE (reserved_by IS NOT NULL);


--
-- Name: runs_session_head; Type: INDEX; Schema: perdure; Owner: -
--

CREATE UNIQUE INDEX runs_session_head ON perdure.runs USING btree (tenant, session) WHERE head;


--
-- Name: runs_sessions; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_sessions ON perdure.runs USING btree (tenant, session, n) WHERE ((session IS NOT NULL) AND (parent IS NULL) AND (finished_at IS NULL));


--
-- Name: runs_timers; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX runs_timers ON perdure.runs USING btree (wake_at) WHERE (wake_at IS NOT NULL);


--
-- Name: signals_blobs; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX signals_blobs ON perdure.signals USING btree (payload) WHERE (SUBSTRING(payload FROM 1 FOR 1) = '\x01'::bytea);


--
-- Name: signals_dedupe; Type: INDEX; Schema: perdure; Owner: -
--

CREATE UNIQUE INDEX signals_dedupe ON perdure.signals USING btree (run, dedupe) WHERE (dedupe IS NOT NULL);


--
-- Name: idempotency idempotency_run_fkey; Type: FK CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.idempotency
    ADD CONSTRAINT idempotency_run_fkey FOREIGN KEY (run) REFERENCES perdure.runs(id) ON DELETE CASCADE;


--
-- Name: signals signals_run_fkey; Type: FK CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.signals
    ADD CONSTRAINT signals_run_fkey FOREIGN KEY (run) REFERENCES perdure.runs(id) ON DELETE CASCADE;


--
-- Name: slots slots_run_fkey; Type: FK CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.slots
    ADD CONSTRAINT slots_run_fkey FOREIGN KEY (run) REFERENCES perdure.runs(id) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--


