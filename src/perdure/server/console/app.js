// The page at "/". Everything on it is made as DOM nodes with text in them: nothing that the API
// says is ever read as markup. Addresses are relative, so that it works under any prefix.

const KEY = "perdure.key";
const LONGEST = 20000; // characters of a value that are shown
const FINAL = new Set(["succeeded", "failed", "dead", "cancelled"]);
const MARKS = { done: "✓", failed: "✗", abandoned: "–", void: "↺" };

const main = document.getElementById("main");
const link = document.getElementById("link");
const forget = document.getElementById("forget");
let leave = new AbortController(); // ends what the page that is left had under way

// -- making nodes

function h(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

function set(node, text, name) {
  if (node.textContent !== text) node.textContent = text;
  if (name !== undefined && node.className !== name) node.className = name;
}

function show(title, ...children) {
  const heading = h("h1", { tabindex: "-1" }, title);
  main.replaceChildren(heading, ...children);
  document.title = `${title} · Perdure`;
  heading.focus({ preventScroll: true });
  return heading;
}

const shown = (value) => {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}… (${text.length} characters)` : text;
};

function short(ms) {
  if (ms < 1000) return `${Math.max(Math.round(ms), 0)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m ${String(Math.floor(seconds % 60)).padStart(2, "0")}s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}h ${String(minutes % 60).padStart(2, "0")}m`;
  return `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

// -- the API

class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `HTTP ${status}`);
    this.status = status;
    this.hint = document.hint;
  }
}

async function call(path, options = {}) {
  const headers = { accept: "application/json", ...options.headers };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  const response = await fetch(path, { signal: leave.signal, ...options, headers });
  if (response.ok) return response;
  let document = {};
  try { document = await response.json(); } catch { /* no problem document: the status says it */ }
  throw new Problem(response.status, document);
}

const read = async (path) => (await call(path)).json();
const send = async (path, body) =>
  (await call(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } })).json();

const pause = (ms) => new Promise((resolve, reject) => {
  const signal = leave.signal;
  if (signal.aborted) { reject(signal.reason); return; }
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});

// Something went wrong while a page was made: say so there.
function failed(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) { askKey(error); return; }
  main.append(h("p", { class: "error", role: "alert" }, words(error)));
}

const words = (error) =>
  error.status ? [error.message, error.hint].filter(Boolean).join("\n") : `The server does not answer (${error.message}).`;

function away(error) {
  if (error.name === "AbortError" || error.status) throw error;
  set(link, "The server does not answer; trying again.");
}

function askKey(error) {
  const field = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const had = sessionStorage.getItem(KEY) !== null;
  show(
    "API key",
    h("form", {
      class: "card",
      onsubmit: (event) => {
        event.preventDefault();
        sessionStorage.setItem(KEY, field.value.trim());
        route();
      },
    },
      h("label", { for: "key" }, "This server asks for an API key"),
      field,
      had ? h("p", { class: "error", role: "alert" }, words(error)) : null,
      h("p", { class: "soft" }, "It is kept in this tab until the tab is closed. A new one: ", h("code", {}, "perdure keys create NAME")),
      h("div", { class: "row" }, h("button", { class: "main" }, "Use it")),
    ),
  );
  forget.hidden = true;
  field.focus();
}

// -- agents and runs

async function home() {
  const agents = h("div", { class: "agents" });
  const rows = h("tbody");
  const none = h("p", { class: "soft", hidden: true }, "No runs yet.");
  const state = h("input", { id: "filter", type: "search", placeholder: "agent, state or id" });
  show(
    "Agents", agents,
    h("h2", { id: "runs" }, "Runs"),
    h("div", { class: "row" }, h("label", { for: "filter", class: "soft" }, "Show only"), state),
    h("div", { class: "scroll" },
      h("table", { "aria-labelledby": "runs" },
        h("thead", {}, h("tr", {}, ...["Run", "Agent", "State", "Age", "Took", ""].map((name) => h("th", { scope: "col" }, name)))),
        rows)),
    none,
  );
  const known = await read("api/agents");
  for (const agent of known.agents) {
    agents.append(h("a", { class: "card", href: `#/agents/${encodeURIComponent(agent.name)}` },
      h("b", {}, agent.name),
      h("span", { class: "soft" }, agent.description || agent.framework)));
  }
  if (!known.agents.length) agents.append(h("p", { class: "soft" }, "No agents: start the server with a TARGET."));
  let runs = [];
  const filter = () => {
    const wanted = state.value.trim().toLowerCase();
    return runs.filter((run) => `${run.id} ${run.agent} ${run.state}`.toLowerCase().includes(wanted));
  };
  const byId = new Map();
  const draw = () => {
    const chosen = filter();
    const kept = chosen.map((run) => {
      let row = byId.get(run.id);
      if (!row) { row = runRow(run.id); byId.set(run.id, row); }
      row.fill(run);
      return row.node;
    });
    // Nodes that are in place already are left alone, so that focus stays where it is.
    kept.forEach((node, i) => { if (rows.children[i] !== node) rows.insertBefore(node, rows.children[i] || null); });
    while (rows.children.length > kept.length) rows.lastChild.remove();
    none.hidden = chosen.length > 0;
  };
  state.addEventListener("input", draw);
  for (;;) {
    if (!document.hidden) {
      try {
        runs = (await read("api/runs?limit=50")).runs;
        set(link, "");
        draw();
      } catch (error) { away(error); }
    }
    await pause(1500);
  }
}

function runRow(id) {
  const cells = Array.from({ length: 6 }, () => h("td"));
  cells[0].className = "id";
  cells[0].append(h("a", { href: `#/runs/${id}` }, id));
  return {
    node: h("tr", {}, ...cells),
    fill(run) {
      set(cells[1], run.agent);
      set(cells[2], run.state, `state ${run.state}`);
      set(cells[3], short(Date.now() - Date.parse(run.created_at)));
      const end = run.finished_at ? Date.parse(run.finished_at) : Date.now();
      set(cells[4], run.started_at ? short(end - Date.parse(run.started_at)) : "");
      set(cells[5], about(run), "soft");
    },
  };
}

function about(run) {
  if (run.state === "waiting") return run.waits.map(waitWords).join("; ");
  if (run.error && FINAL.has(run.state)) return run.error.message || "";
  return "";
}

function waitWords(wait) {
  const what = { signal: `waits for the signal “${wait.name}”`, sleep: "sleeps", run: "waits for a run it started", retry: "is tried again",
    uncertain: "nobody knows whether an effect happened", diverged: "its code no longer fits its journal", limit: "a limit stopped it" };
  const until = wait.until ? ` until ${new Date(wait.until).toLocaleString()}` : "";
  return (what[wait.reason] || wait.reason) + until + (wait.detail ? `: ${wait.detail}` : "");
}

// -- one agent: a form

async function agentPage(name) {
  const agent = await read(`api/agents/${encodeURIComponent(name)}`);
  const schema = agent.input_schema;
  const isText = !schema || schema.type === "string";
  const field = h("textarea", { id: "input", spellcheck: "false", "aria-describedby": "help" });
  field.value = isText ? "" : JSON.stringify(example(schema, schema), null, 2);
  const trouble = h("p", { class: "error", role: "alert", hidden: true });
  const result = h("div");
  const start = h("button", { class: "main" }, "Start a run");
  const submit = async (event) => {
    event.preventDefault();
    trouble.hidden = true;
    result.replaceChildren();
    let input = field.value;
    if (!isText) {
      try { input = JSON.parse(input); } catch (error) {
        trouble.hidden = false;
        set(trouble, `That is no JSON: ${error.message}`);
        field.focus();
        return;
      }
    }
    start.disabled = true;
    try {
      const run = await send(`api/agents/${encodeURIComponent(name)}/runs`, { input });
      if (run.durability === "none") result.append(h("h2", {}, "Result"), h("pre", {}, shown(run.result)));
      else location.hash = `#/runs/${run.id}`;
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 401) { askKey(error); return; }
      trouble.hidden = false;
      set(trouble, words(error));
    } finally { start.disabled = false; }
  };
  show(
    agent.name,
    h("p", { class: "soft" }, [agent.framework, agent.durability === "none" ? "its runs are not stored" : ""].filter(Boolean).join(" · ")),
    agent.description ? h("p", {}, agent.description) : null,
    h("form", { class: "card", onsubmit: submit },
      h("label", { for: "input" }, isText ? "Input (text)" : "Input (JSON)"),
      field,
      h("p", { id: "help", class: "soft" }, schema ? (schema.description || "") : "This agent does not say what it takes; text is sent."),
      trouble,
      h("div", { class: "row" }, start, h("span", { class: "soft" }, "Ctrl + Enter"))),
    schema ? h("details", {}, h("summary", {}, "What it takes (JSON Schema)"), h("pre", {}, shown(schema))) : null,
    result,
  );
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
  });
  field.focus();
}

// A value that a schema takes, for people to change.
function example(schema, root, depth = 0) {
  if (!schema || typeof schema !== "object" || depth > 5) return "";
  if (schema.$ref) {
    const found = schema.$ref.replace(/^#\//, "").split("/").reduce((at, part) => (at || {})[part], root);
    return example(found, root, depth + 1);
  }
  if ("default" in schema) return schema.default;
  if ("const" in schema) return schema.const;
  for (const many of [schema.examples, schema.enum]) if (Array.isArray(many) && many.length) return many[0];
  for (const many of [schema.anyOf, schema.oneOf]) if (Array.isArray(many) && many.length) return example(many[0], root, depth + 1);
  if (schema.type === "object") {
    const names = schema.required || Object.keys(schema.properties || {});
    return Object.fromEntries(names.map((name) => [name, example((schema.properties || {})[name], root, depth + 1)]));
  }
  if (schema.type === "array") return [example(schema.items, root, depth + 1)];
  return { integer: 1, number: 1, boolean: true, null: null }[schema.type] ?? "";
}

// -- one run: its tree

async function runPage(id) {
  const path = `api/runs/${encodeURIComponent(id)}`;
  let run = await read(path);
  const facts = h("dl");
  const outcome = h("div");
  const trouble = h("p", { class: "error", role: "alert", hidden: true });
  const cancel = h("button", {
    type: "button",
    onclick: async () => {
      if (!confirm("Stop this run, and the runs it started?")) return;
      cancel.disabled = true;
      trouble.hidden = true;
      try { await send(`${path}/cancel`, { reason: "from the page" }); await refresh(); }
      catch (error) {
        if (error.name === "AbortError") return;
        trouble.hidden = false;
        set(trouble, words(error));
      } finally { cancel.disabled = false; }
    },
  }, "Cancel the run");
  const tree = new Tree();
  const heading = show(
    `Run of ${run.agent}`,
    facts, h("div", { class: "row" }, cancel, h("a", { href: `#/agents/${encodeURIComponent(run.agent)}` }, "Start another")), trouble,
    outcome, h("h2", {}, "What it did"), tree.node, h("p", { class: "soft", id: "none" }, "Nothing yet."),
  );
  const state = h("dd", { class: "state", "aria-live": "polite" });
  const took = h("dd");
  const waits = h("dd");
  const waitsName = h("dt", {}, "Waits");
  facts.append(
    h("dt", {}, "Run"), h("dd", {}, h("code", {}, run.id)),
    h("dt", {}, "State"), state, waitsName, waits,
    h("dt", {}, "Created"), h("dd", {}, new Date(run.created_at).toLocaleString()),
    h("dt", {}, "Took"), took,
    ...(run.parent ? [h("dt", {}, "Started by"), h("dd", {}, h("a", { href: `#/runs/${run.parent}` }, run.parent))] : []),
    h("dt", {}, "Input"), h("dd", {}, folded(run.input)),
  );
  const draw = () => {
    const asked = run.cancel_requested && !FINAL.has(run.state);
    set(state, run.state + (asked ? " (asked to stop)" : ""), `state ${run.state}`);
    waits.hidden = waitsName.hidden = run.state !== "waiting";
    set(waits, run.waits.map(waitWords).join("; "));
    cancel.hidden = FINAL.has(run.state);
    document.title = `${run.state} · ${heading.textContent} · Perdure`;
    document.getElementById("none").hidden = tree.any;
    outcome.replaceChildren(...(
      run.state === "succeeded" ? [h("h2", {}, "Result"), h("pre", {}, shown(run.result))]
        : run.error && FINAL.has(run.state) ? [h("h2", {}, "Error"), h("pre", { class: "error" }, [run.error.type, run.error.message].filter(Boolean).join(": "))] : []));
    clock();
  };
  const clock = () => {
    const end = run.finished_at ? Date.parse(run.finished_at) : Date.now();
    set(took, run.started_at ? short(end - Date.parse(run.started_at)) : "not started");
    tree.clock();
  };
  const refresh = async () => { run = await read(path); draw(); };
  draw();
  const timer = setInterval(clock, 500);
  leave.signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  for (let after = 0; ;) {
    try {
      for await (const event of events(path, after)) {
        set(link, "");
        after = event.seq;
        tree.take(event);
        if (event.type === "status" || event.type === "attempt.started") await refresh();
        else document.getElementById("none").hidden = tree.any;
      }
      await refresh();
      if (FINAL.has(run.state)) { clearInterval(timer); clock(); return; }
    } catch (error) { away(error); }
    await pause(1000);
  }
}

function folded(value) {
  const text = shown(value ?? null);
  if (text.length < 120 && !text.includes("\n")) return h("code", {}, text);
  return h("details", {}, h("summary", {}, `${text.slice(0, 80).replaceAll("\n", " ")}…`), h("pre", {}, text));
}

// A run's log after a seq, as it comes, until the server ends the answer.
async function* events(path, after) {
  const response = await call(`${path}/events?after=${after}`, { headers: { accept: "application/x-ndjson" } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (held + value).split("\n");
    held = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
}

// Effects inside effects, with notes between them.
class Tree {
  constructor() {
    this.node = h("ul", { class: "tree" });
    this.effects = new Map();
    this.flying = new Set();
    this.any = false;
  }

  take({ type, at, data }) {
    if (type === "effect" || type === "effect.started") this.effect(type, at, data);
    else if (type === "delta") this.delta(data);
    else if (type === "warning") this.note(`! ${data.message || data.code}`, "note warning");
    else if (type === "signal") this.note(`⇠ signal ${data.name}`);
    else if (type === "emit") this.note(`· ${data.name}${"value" in data && data.value !== null ? "  " + shown(data.value).slice(0, 400) : ""}`);
    else if (type === "attempt.started") this.attempt(data);
  }

  attempt({ attempt }) {
    // What flew when the attempt before ended did not arrive.
    for (const effect of this.flying) if (effect.state !== "intent") { this.effects.delete(effect.key); effect.node.remove(); }
    this.flying.clear();
    if (attempt > 1) this.note(`── attempt ${attempt}`);
  }

  note(text, name = "note") {
    this.any = true;
    this.node.append(h("li", { class: name }, text));
  }

  place(key) {
    let effect = this.effects.get(key);
    if (effect) return effect;
    this.any = true;
    const parts = { mark: h("span"), kind: h("span", { class: "kind" }), name: h("span", { class: "name" }), words: h("span", { class: "words" }), took: h("span", { class: "took" }) };
    const value = h("div");
    const inside = h("ul");
    effect = { key, parts, value, inside, state: "", began: 0, text: "",
      node: h("li", {}, h("details", {}, h("summary", {}, parts.mark, parts.kind, parts.name, parts.words, parts.took), value), inside) };
    this.effects.set(key, effect);
    this.node.append(effect.node);
    return effect;
  }

  effect(type, at, data) {
    if (data.kind === "clock" || data.kind === "random") return;
    const effect = this.place(data.key);
    if (data.scope && effect.node.parentNode === this.node) this.place(data.scope).inside.append(effect.node);
    const state = type === "effect.started" ? "flying" : data.state;
    effect.state = state;
    const flies = state === "flying" || state === "intent";
    if (flies && !effect.began) effect.began = Date.parse(at);
    this.flying[flies ? "add" : "delete"](effect);
    const { parts } = effect;
    set(parts.mark, MARKS[state] || "…", state);
    parts.mark.setAttribute("aria-label", state === "flying" ? "under way" : state);
    if (data.kind) set(parts.kind, data.kind);
    if (data.name) set(parts.name, data.name);
    if (!flies) { set(parts.words, ""); set(parts.took, data.took_ms === undefined ? "" : short(data.took_ms)); }
    const facts = Object.entries({ promise: data.promise, branch: data.branch, key: data.key }).filter(([, v]) => v);
    effect.value.replaceChildren(
      h("p", { class: "soft" }, facts.map(([name, v]) => `${name} ${v}`).join(" · ")),
      "value" in data ? h("pre", {}, shown(data.value))
        : "value_size" in data || "value_blob" in data ? h("p", { class: "soft" }, `The value is too large to be shown here (${data.value_size ? `${data.value_size} bytes` : "it is in the blob store"}).`) : "",
    );
  }

  delta(data) {
    const effect = data.key && this.effects.get(data.key);
    if (!effect) return;
    for (const item of data.items) effect.text += typeof item === "string" ? item : (item && item.text) || "";
    set(effect.parts.words, effect.text.slice(-160));
  }

  clock() {
    for (const effect of this.flying) if (effect.began) set(effect.parts.took, short(Date.now() - effect.began));
  }
}

// -- which page

async function route() {
  leave.abort();
  leave = new AbortController();
  set(link, "");
  forget.hidden = sessionStorage.getItem(KEY) === null;
  const [, room, name] = location.hash.match(/^#\/(agents|runs)\/([^/]+)$/) || [];
  try {
    if (room === "agents") await agentPage(decodeURIComponent(name));
    else if (room === "runs") await runPage(decodeURIComponent(name));
    else await home();
  } catch (error) {
    if (error.name !== "AbortError" && error.status !== 401 && !main.querySelector("h1")) show("Perdure");
    failed(error);
  }
}

forget.addEventListener("click", () => { sessionStorage.removeItem(KEY); route(); });
addEventListener("hashchange", (event) => { if (new URL(event.newURL).hash !== "#main") route(); });
route();
