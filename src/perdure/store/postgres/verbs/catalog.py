"""What is looked up: runs, agents, API keys, and the messages of stored requests (Z1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.core.trace import run_of
from perdure.errors import Conflict, NotFound
from perdure.store.intake import intake_json
from perdure.store.postgres.columns import (
    SHOWN,
    WHOLE,
    to_agent,
    to_json,
    to_key,
    to_run,
    to_uuid,
)
from perdure.store.postgres.link import Database
from perdure.store.postgres.verbs.outside import missing
from perdure.store.rows import AgentInfo, ApiKey, Filter, Run

# -- runs -----------------------------------------------------------------------------------------


async def get(database: Database, run_id: str, payloads: bool) -> Run:
    """See ``Store.get``."""
    row = await database.row(
        f"select {WHOLE if payloads else SHOWN} from perdure.runs where id = $1", to_uuid(run_id)
    )
    if row is None:
        raise missing(run_id)
    return to_run(row, payloads=payloads)


async def find(database: Database, filter: Filter) -> list[Run]:
    """See ``Store.find``."""
    where, given = ["true"], list[Any]()

    def add(condition: str, *values: Any) -> None:
        places = [f"${len(given) + i}" for i in range(1, len(values) + 1)]
        given.extend(values)
        where.append(condition.format(*places))

    if filter.agent is not None:
        add("agent = {}", filter.agent)
    if filter.tenant is not None:
        add("tenant = {}", filter.tenant)
    if filter.session is not None:
        add("session = {}", filter.session)
    if filter.parent is not None:
        add("parent = {}", to_uuid(filter.parent))
    if filter.states:
        add("state = any ({}::text[])", list(filter.states))
    if filter.labels:
        add("labels @> {}::jsonb", to_json(filter.labels))
    if filter.created_after is not None:
        add("created_at >= {}", filter.created_after)
    if filter.created_before is not None:
        add("created_at < {}", filter.created_before)
    if filter.trace_id is not None:
        add("(substr(trace, 4, 32) = {0} or (trace is null and id::text = {1}))",
            filter.trace_id, run_of(filter.trace_id))  # fmt: skip
    if filter.idempotency_key is not None:
        add("id in (select i.run from perdure.idempotency i where i.key = {})",
            filter.idempotency_key)  # fmt: skip
    if filter.dismissed is not None:
        where.append(f"dismissed_at is {'not null' if filter.dismissed else 'null'}")
    if filter.before_n is not None:
        add("n < {}", filter.before_n)
    if filter.before is not None:
        add("n < (select n from perdure.runs where id = {})", to_uuid(filter.before))
    given.append(filter.limit)
    rows = await database.rows(
        f"select {SHOWN} from perdure.runs where {' and '.join(where)}"
        f" order by n desc limit ${len(given)}",
        *given,
    )
    return [to_run(row, payloads=False) for row in rows]


# -- agents ---------------------------------------------------------------------------------------

_ANNOUNCE = """
insert into perdure.agents
  (name, queue, framework, description, input_schema, durability, intake, announced_at)
select *, perdure.clock()
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::text[], $7::jsonb[])
  a (name)
order by a.name
on conflict (name) do update
set queue = excluded.queue, framework = excluded.framework, description = excluded.description,
    input_schema = excluded.input_schema, durability = excluded.durability,
    intake = excluded.intake,
    announced_at = excluded.announced_at
"""


async def announce(database: Database, agents: Sequence[AgentInfo]) -> None:
    """See ``Store.announce``."""
    last = list({agent.name: agent for agent in agents}.values())
    schemas = [None if a.input_schema is None else to_json(a.input_schema) for a in last]
    await database.rows(
        _ANNOUNCE,
        [a.name for a in last], [a.queue for a in last], [a.framework for a in last],
        [a.description for a in last], schemas, [a.durability for a in last],
        [intake_json(a.intake) for a in last],
    )  # fmt: skip


async def agents(database: Database) -> list[AgentInfo]:
    """All announced agents, by name."""
    rows = await database.rows('select * from perdure.agents order by name collate "C"')
    return [to_agent(row) for row in rows]


# -- keys -----------------------------------------------------------------------------------------

_ADD_KEY = """
with put as (
  insert into perdure.keys
    (id, name, hash, scopes, created_at, expires_at, last_used_at, revoked_at)
  values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing returning hash
)
select hash from put union all select hash from perdure.keys where id = $1
"""


async def add_key(database: Database, key: ApiKey) -> None:
    """See ``Store.add_key``. A repeated call changes nothing; raises Conflict."""
    there = await database.value(
        _ADD_KEY,
        key.id, key.name, key.hash, list(key.scopes), key.created_at, key.expires_at,
        key.last_used_at, key.revoked_at,
    )  # fmt: skip
    if there is None:  # another call added it meanwhile
        there = await database.value("select hash from perdure.keys where id = $1", key.id)
    if there != key.hash:
        raise Conflict(f"There is a key {key.id} already.")


async def key(database: Database, key_id: str) -> ApiKey | None:
    row = await database.row("select * from perdure.keys where id = $1", key_id)
    return None if row is None else to_key(row)


async def keys(database: Database) -> list[ApiKey]:
    """All keys, the oldest first."""
    rows = await database.rows('select * from perdure.keys order by created_at, id collate "C"')
    return [to_key(row) for row in rows]


async def revoke_key(database: Database, key_id: str) -> None:
    """Raises NotFound. The first revocation's time stays."""
    there = await database.value(
        "update perdure.keys set revoked_at = coalesce(revoked_at, perdure.clock())"
        " where id = $1 returning id",
        key_id,
    )
    if there is None:
        raise NotFound(f"There is no key {key_id}.", key=key_id)


async def touch_key(database: Database, key_id: str) -> None:
    await database.rows(
        "update perdure.keys set last_used_at = perdure.clock() where id = $1", key_id
    )


# -- requests -------------------------------------------------------------------------------------

_CHAIN = """
with recursive chain (parent, body, up) as (
  select parent, body, 0 from perdure.messages where run = $1 and node = $2
  union all
  select m.parent, m.body, chain.up + 1
  from chain join perdure.messages m on m.run = $1 and m.node = chain.parent
)
select parent, body from chain order by up desc
"""


async def get_messages(database: Database, run_id: str, tip: bytes) -> list[bytes]:
    """See ``Store.get_messages``."""
    rows = await database.rows(_CHAIN, to_uuid(run_id), tip)
    if not rows or rows[0]["parent"] != b"":
        raise NotFound(f"The run {run_id} has no stored request {tip.hex()}.", run=run_id)
    return [row["body"] for row in rows]
