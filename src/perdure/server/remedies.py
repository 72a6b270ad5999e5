"""What to do about each error: what the page that a problem document leads to says beside the
error's own meaning."""

from __future__ import annotations

REMEDIES = {
    "internal": "It is a mistake of the server's. Its log has the traceback; the run, if there is "
    "one, keeps its journal.",
    "usage": "Compare the request with the API's document at `/api/openapi.json`.",
    "config": "Correct the setting that the message names. `perdure config show` prints every "
    "value with where it came from.",
    "target": "Check the name after the colon, and that the file can be imported where Perdure "
    "runs.",
    "missing_extra": "Install the extra that the hint names, where Perdure runs.",
    "codec": "Return plain JSON values, or annotate the function with the type it returns: "
    "pydantic models, dataclasses, dates, decimals and UUIDs round-trip.",
    "boundary": "Call it in the code of an agent that Perdure executes; before or after a `once` "
    "effect, not inside; and await it where there is an event loop.",
    "invalid_input": "Correct the member or parameter that the document names. The schema of an "
    "agent's input is at `/api/agents/{agent}`.",
    "too_large": "Put large data elsewhere and send its address; or raise `server.max_body` or "
    "`server.max_depth`.",
    "not_found": "Check the name or id. `perdure runs list` shows the runs and `/api/agents` the "
    "agents of this store; retention may have deleted an old run.",
    "conflict": "Look at the run's state first: what is asked for does not fit it, or somebody was "
    "faster.",
    "idempotency_mismatch": "A key belongs to one request. Use a new key for a new one; send the "
    "very same body to ask again.",
    "unauthorized": "Send `Authorization: Bearer pk_…` with a key that is neither revoked nor "
    "expired: `perdure keys list`.",
    "forbidden": "Use a key with the scope that the document names. A server without keys answers "
    "its own machine only.",
    "unavailable": "Ask again after `Retry-After`; with the same `Idempotency-Key` nothing is done "
    "twice.",
    "store_unavailable": "Ask again after `Retry-After`. If it lasts: `/readyz` and the server's "
    "log say what is wrong with the database.",
    "blob_missing": "Bring the value back from a backup, and check that every process of this "
    "store has the same `store.blobs`.",
    "schema_outdated": "Run `perdure db upgrade` once, with the new version.",
    "schema_newer": "Start the version of Perdure that upgraded this database, or a later one.",
    "backpressure": "Ask again after `Retry-After`. If it lasts, start more workers: `/scale` says "
    "how much waits; `server.max_queued` is the limit.",
    "no_headroom": "Start it again after `Retry-After`, if there is one; `perdure limits` and "
    '`perdure budgets` show what is left. `preflight = "wait"` lets such runs wait in the queue.',
    "port_in_use": "Stop the other process or choose another port; `--port 0` takes a free one.",
    "unreachable": "Check the address, and that the server runs. The client has tried several "
    "times; what it asked for may have been done.",
    "wait_over": "The run goes on: wait for it again, by its id.",
    "lease_lost": "Nothing: the run's other attempt goes on. The one that lost it gave no sign of "
    "life for as long as its lease.",
    "run_error": "Look at the run's `error` and its events.",
    "run_failed": "Look at the run's `error`. Once the cause is mended, a redrive goes on from the "
    "journal: `perdure runs redrive`.",
    "run_dead": "Its last failure is in `error`. Mend the cause, then redrive the dead letter, or "
    "dismiss it.",
    "run_cancelled": "Nothing. Start another run if it was a mistake.",
    "run_timeout": "Give it more time: `timeout`, when it is started or in the agent's policy.",
    "loop_guard": "Look at what it repeated. Raise the limit (`max_model_calls`, `max_effects`, "
    "`max_repeats`) if it was right to.",
    "effect": "Look at the effect in the run's events.",
    "effect_failed": "Look at the effect's failure in the run's events.",
    "effect_timeout": "Give the step or tool more time, or make it faster.",
    "not_done": "It did not happen: it may be tried again.",
    "uncertain": "Find out whether it happened, then answer: `perdure runs resolve`, or "
    "`POST /api/runs/{id}/resolve`.",
    "diverged": "Bring back code that fits the journal, or answer for the entry: "
    "`perdure runs resolve`.",
    "method_not_allowed": "`Allow` says which methods there are.",
}
