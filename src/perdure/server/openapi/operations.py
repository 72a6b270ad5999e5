"""Every route: what it takes, what it answers."""

from __future__ import annotations

from typing import Any

from perdure.server.openapi import parameters as p
from perdure.server.openapi.schemas import RUN_ID, TRACE_ID, ref
from perdure.server.routes.agents import MEMBERS
from perdure.server.run_view import SUMMARY, WHOLE

Operation = dict[str, Any]

_PROBLEM = {"application/problem+json": {"schema": ref("Problem")}}
_TEXTS = {
    400: "The request makes no sense.",
    401: "An API key is needed.",
    403: "The API key's scopes do not cover this.",
    404: "There is no such thing.",
    409: "The run's state does not allow this.",
    413: "The body is too large or nested too deep.",
    422: "A parameter or member is wrong; the document names it.",
    429: "The agent's queue is full.",
    503: "The store is away, or did not answer in time.",
}
_RETRY = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
_QUOTA = {
    "RateLimit-Policy": {"schema": {"type": "string"}, "example": '"queue";q=1000000'},
    "RateLimit": {"schema": {"type": "string"}, "example": '"queue";r=999999;t=0'},
}
_RECEIPT = {"id": RUN_ID, "agent": "greet", "state": "queued", "trace_id": TRACE_ID}


def _refused(*statuses: int) -> dict[str, Any]:
    """Error answers, beside those that any route can give."""
    out: dict[str, Any] = {}
    for status in sorted({401, 403, 422, 503, *statuses}):
        out[str(status)] = {"description": _TEXTS[status], "content": _PROBLEM}
        if status in (429, 503):
            out[str(status)]["headers"] = dict(_RETRY)
        if status == 429:
            out[str(status)]["headers"].update(_QUOTA)
    return out


def _json(description: str, schema: str, *, example: Any = None, **more: Any) -> dict[str, Any]:
    media: dict[str, Any] = {"schema": ref(schema)}
    if example is not None:
        media["example"] = example
    return {"description": description, "content": {"application/json": media}, **more}


def _body(schema: dict[str, Any], *, required: bool, example: Any) -> dict[str, Any]:
    media = {"schema": schema, "example": example}
    return {"required": required, "content": {"application/json": media}}


def _operation(
    name: str, tag: str, summary: str, responses: dict[str, Any], *given: Any, **more: Any
) -> Operation:
    out = {"operationId": name, "tags": [tag], "summary": summary, "responses": responses, **more}
    return {**out, "parameters": list(given)} if given else out


def _links(*operations: str) -> dict[str, Any]:
    """What can be done with the run that an answer tells of."""
    return {
        name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
        for name in operations
    }


def paths() -> dict[str, Any]:
    """Path template -> method -> operation."""
    return {
        **_runs(), **_changing(), **_dead_letters(), **_agents(), **_gateway(), **_server()
    }  # fmt: skip


def _runs() -> dict[str, Any]:
    located = {
        "Location": {"schema": {"type": "string", "format": "uri-reference"}},
        "Idempotent-Replayed": {"schema": {"const": "true"}},
        "Preference-Applied": {"schema": {"type": "string"}},
        **_QUOTA,
    }
    done = _json("The run is final.", "Receipt", headers=located,
                 example={**_RECEIPT, "state": "succeeded", "result": "hello Ada"})  # fmt: skip
    done["content"]["text/event-stream"] = {"schema": ref("ServerSentEvent")}
    follow = (
        "getRun", "getEvents", "cancelRun", "sendSignal", "resolveRun", "redriveRun",
        "redriveDeadLetter", "dismissDeadLetter",
    )  # fmt: skip
    stream = {
        "200": {
            "description": "The log, until the run is final.",
            "content": {
                "text/event-stream": {"schema": ref("ServerSentEvent")},
                "application/x-ndjson": {"schema": {"type": "string"}},
                "application/jsonl": {"schema": {"type": "string"}},
            },
        },
        "204": {"description": "The run is final and its last event is known."},
    }
    shown = {"Preference-Applied": {"schema": {"type": "string"}}}
    pages = {"Link": {"schema": {"type": "string"}, "description": 'The next page: rel="next".'}}
    return {
        "/api/agents/{agent}/runs": {
            "post": _operation(
                "startRun", "runs", "Start a run.",
                {
                    "200": done,
                    "202": _json("It is accepted, or goes on.", "Receipt", example=_RECEIPT,
                                 headers=located, links=_links(*follow)),
                    **_refused(400, 404, 413, 429),
                },
                p.AGENT, p.WAIT, p.PREFER, p.KEY, p.TRACEPARENT,
                description="Accept: text/event-stream streams its events.",
                requestBody=_body(ref("Submission"), required=True, example={"input": "Ada"}),
            )
        },
        "/api/runs": {
            "get": _operation(
                "findRuns", "runs", "Runs, newest first.",
                {"200": _json("A page.", "RunPage", headers=pages, example={"runs": []}),
                 **_refused()},
                p.STATE, *p.LISTING, p.OF_KEY, p.fields(SUMMARY),
            )
        },
        "/api/runs/{id}": {
            "get": _operation(
                "getRun", "runs", "A run, with its input and result.",
                {"200": _json("The run.", "Run", headers=shown), **_refused(404)},
                p.RUN, p.WAIT, p.PREFER, p.fields(WHOLE),
            )
        },
        "/api/runs/{id}/events": {
            "get": _operation(
                "getEvents", "runs", "Its log as it grows: SSE, or JSON lines.",
                {**stream, **_refused(404)},
                p.RUN, p.LAST_EVENT_ID, p.AFTER, p.FOLLOW,
                description="Each event is an Event. Over a WebSocket: /api/runs/{id}/ws.",
            )
        },
    }  # fmt: skip


def _changing() -> dict[str, Any]:
    payload = _body(ref("Json"), required=False,
                    example={"by": "ada"})  # fmt: skip
    return {
        "/api/runs/{id}/cancel": {
            "post": _operation(
                "cancelRun", "changing", "Cancel a run.",
                {
                    "200": _json("It is cancelled.", "RunSummary"),
                    "202": _json("It is running and was asked to stop.", "RunSummary"),
                    **_refused(400, 404, 409, 413),
                },
                p.RUN,
                requestBody=_body(ref("Reason"), required=False, example={"reason": "not today"}),
            )
        },
        "/api/runs/{id}/signals/{name}": {
            "post": _operation(
                "sendSignal", "changing", "Send a run a signal.",
                {"202": _json("It is kept.", "SignalReceipt",
                              example={"run": RUN_ID, "name": "approved", "n": 1}),
                 **_refused(400, 404, 409, 413)},
                p.RUN, p.SIGNAL, p.KEY, requestBody=payload,
            )
        },
        "/api/runs/{id}/resolve": {
            "post": _operation(
                "resolveRun", "changing", "Answer an effect of which nobody knows.",
                {"200": _json("It goes on.", "RunSummary"), **_refused(400, 404, 409, 413)},
                p.RUN,
                requestBody=_body(ref("Answer"), required=True,
                                  example={"answer": "done", "value": "sent by hand"}),
            )
        },
        "/api/runs/{id}/redrive": {
            "post": _operation(
                "redriveRun", "changing", "Let a failed, dead or waiting run go on.",
                {"200": _json("It goes on.", "RunSummary"), **_refused(404, 409, 413)},
                p.RUN,
            )
        },
    }  # fmt: skip


def _dead_letters() -> dict[str, Any]:
    return {
        "/api/dead-letters": {
            "get": _operation(
                "findDeadLetters", "dead letters", "Dead runs that nobody has put aside.",
                {"200": _json("A page.", "DeadLetterPage", example={"dead_letters": []}),
                 **_refused()},
                *p.LISTING, p.OF_KEY, p.fields(SUMMARY),
            )
        },
        "/api/dead-letters/{id}/redrive": {
            "post": _operation(
                "redriveDeadLetter", "dead letters", "Fresh attempts, from its journal on.",
                {"200": _json("It goes on.", "RunSummary"), **_refused(404, 409, 413)},
                p.RUN,
            )
        },
        "/api/dead-letters/{id}/dismiss": {
            "post": _operation(
                "dismissDeadLetter", "dead letters", "Put it aside.",
                {"200": _json("It is listed no more.", "RunSummary"), **_refused(404, 409, 413)},
                p.RUN,
            )
        },
    }  # fmt: skip


def _agents() -> dict[str, Any]:
    agent = {
        "name": "greet", "framework": "python", "description": "Greets.",
        "durability": "journal", "here": True,
    }  # fmt: skip
    return {
        "/api/agents": {
            "get": _operation(
                "findAgents", "agents", "All agents.",
                {"200": _json("By name.", "AgentList", example={"agents": [agent]}),
                 **_refused()},
                p.fields(MEMBERS),
            )
        },
        "/api/agents/{agent}": {
            "get": _operation(
                "getAgent", "agents", "One, with its input's JSON Schema.",
                {"200": _json("The agent.", "Agent",
                              example={**agent, "input_schema": {"type": "string"}}),
                 **_refused(404)},
                p.AGENT, p.fields(MEMBERS | {"input_schema"}),
            )
        },
    }  # fmt: skip


def _gateway() -> dict[str, Any]:
    return {
        "/api/limits": {
            "get": _operation(
                "getLimits", "gateway", "How full the providers' limits are.",
                {"200": _json("Over all workers, by pool.", "Limits"), **_refused()},
            )
        },
        "/api/routes": {
            "get": _operation(
                "getRoutes", "gateway", "Where model calls go.",
                {"200": _json("In the order in which routes are tried.", "Routes"), **_refused()},
                p.COUNTED_SINCE,
            )
        },
        "/api/costs": {
            "get": _operation(
                "getCosts", "gateway", "What model calls cost.",
                {"200": _json("By group, the dearest first.", "Costs"), **_refused()},
                *p.COSTS,
            )
        },
        "/api/budgets": {
            "get": _operation(
                "getBudgets", "gateway", "What each budget has left.",
                {"200": _json("In the settings' order.", "BudgetList"), **_refused()},
            )
        },
        "/api/halts": {
            "get": _operation(
                "findHalts", "gateway", "What is halted.",
                {"200": _json("The longest first.", "HaltList"), **_refused()},
            ),
            "post": _operation(
                "halt", "gateway", "Stop the model calls of an agent or for a tenant.",
                {"200": _json("It is halted.", "Halt"), **_refused(400, 413)},
                requestBody=_body(ref("HaltOrder"), required=True, example={
                    "kind": "agent", "name": "greet", "reason": "too chatty",
                }),
            ),
            "delete": _operation(
                "lift", "gateway", "Let them go out again.",
                {"200": _json("It was halted so.", "Halt"), **_refused(404, 413)},
                p.HALTED, p.HALTED_NAME,
            ),
        },
    }  # fmt: skip


def _server() -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    page = {"text/html": {"schema": {"type": "string"}}}
    one, every = _json("The error.", "Explanation"), _json("All.", "ExplanationList")
    for both in (one, every):
        both["content"].update(page)
    gone = {"404": {"description": _TEXTS[404], "content": _PROBLEM}}
    own = {"description": "This document.", "content": {"application/json": {"schema": {}}}}
    return {
        "/healthz": {
            "get": _operation("health", "server", "Is the event loop alive?",
                              {"200": {"description": "It is.", "content": text}}, security=[])
        },
        "/readyz": {
            "get": _operation("readiness", "server", "Should requests come here?",
                              {"200": _json("Yes.", "Readiness"),
                               "503": _json("No; what is missing.", "Readiness")}, security=[])
        },
        "/metrics": {
            "get": _operation("metrics", "server", "Prometheus text.",
                              {"200": {"description": "Metrics.", "content": text}, **_refused()})
        },
        "/scale": {
            "get": _operation("scale", "server", "What an autoscaler goes by.",
                              {"200": _json("The load.", "Scale"), **_refused()})
        },
        "/problems": {
            "get": _operation("findProblems", "server", "All errors.",
                              {"200": every}, security=[])
        },
        "/problems/{code}": {
            "get": _operation("getProblem", "server", "What an error means.",
                              {"200": one, **gone}, p.CODE, security=[])
        },
        "/api/openapi.json": {
            "get": _operation("openapi", "server", "This document.", {"200": own}, security=[])
        },
    }  # fmt: skip
