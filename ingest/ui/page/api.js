// What the page asks of the read port, and what went wrong in words for people. Keys live in this
// module's memory and nowhere else: not in the URL, not in any storage of the browser.

/** `credentials`: `{text, tenant, admin}` of each key or token that was typed; `current` is in use. */
export const session = { credentials: [], current: null };

/** A question that was not answered. */
export class Refused extends Error {
  /**
   * kind: `key`, `query`, `slow`, `away`, `busy`, `missing`, `limit` or `other`.
   * place: `{line, column}` in the query, both from 1, or null.
   */
  constructor(kind, message, { status = 0, place = null, hint = "" } = {}) {
    super(message);
    Object.assign(this, { kind, status, place, hint });
  }
}

const LANGUAGE = "ui/promql.json";
const changed = new EventTarget();

/** Be told when another key is in use, or when the server began or ceased to answer. */
export const on = (name, call) => changed.addEventListener(name, (event) => call(event.detail));

const tell = (name, detail) => changed.dispatchEvent(new CustomEvent(name, { detail }));

/** Use these credentials, or none. */
export function use(credentials) {
  session.current = credentials;
  forget();
  tell("key");
}

let isAway = false;

function presence(away) {
  if (away !== isAway) {
    isAway = away;
    tell("presence", away);
  }
}

/** The URL of a path below this server, wherever a proxy has put it. */
export const urlOf = (path) => new URL(path, document.baseURI.split("#")[0]).href;

/**
 * Ask, and read the answer as JSON.
 *
 * parameters: an array of pairs, or an object; a value that is null is left out.
 * form: send them as a form, for what may be longer than a URL.
 * json: send this document instead.
 */
export async function ask(path, parameters = {}, { form = false, json = null, signal } = {}) {
  const pairs = (Array.isArray(parameters) ? parameters : Object.entries(parameters))
    .filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(pairs);
  const headers = session.current ? { Authorization: `Bearer ${session.current.text}` } : {};
  const init = { headers, signal, cache: "no-store" };
  let url = urlOf(path);
  if (json !== null) Object.assign(init, { method: "POST", body: JSON.stringify(json), headers: { ...headers, "Content-Type": "application/json" } });
  else if (form) Object.assign(init, { method: "POST", body: query });
  else if (pairs.length) url += `?${query}`;
  let answer, text;
  try {
    answer = await fetch(url, init);
    text = await answer.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    presence(true);
    throw new Refused("away", "The server does not answer", { hint: "Is promgres still running? This page asks again by itself." });
  }
  let document_ = null;
  try { document_ = JSON.parse(text); } catch { /* said below */ }
  if (answer.ok && document_ !== null) {
    if (path !== LANGUAGE) presence(document_.ready === false);
    return document_;
  }
  throw refusalOf(answer.status, document_, text);
}

const PLACE = /(?:invalid parameter "query": )?(\d+):(\d+): (?:parse error: )?([\s\S]*)/;

/** Both shapes of refusals: Prometheus' `{errorType, error}` and PostgREST's `{code, message}`. */
function refusalOf(status, said, text) {
  const message = said?.error ?? said?.message ?? text.slice(0, 300);
  const hint = said?.hint ?? said?.details ?? "";
  if (status === 401 || status === 403) return new Refused("key", message, { status, hint });
  if (status === 404) return new Refused("missing", message, { status, hint });
  if (/timed? ?out|longer than|statement timeout/i.test(message) && status >= 500) {
    return new Refused("slow", message, { status, hint: "Ask for a shorter period, a longer step or fewer series." });
  }
  if (status === 503 || status === 502 || status === 504) {
    const database = /database/i.test(message);
    presence(database);
    return new Refused(database ? "away" : "busy", message, { status, hint });
  }
  const [, line, column, what] = message.match(PLACE) ?? [];
  if (line) {
    return new Refused("query", what, { status, place: { line: Number(line), column: Number(column) } });
  }
  return new Refused(status === 422 ? "limit" : "query", message, { status, hint });
}

/** `data` of Prometheus' API, with `warnings` and `infos`. */
export async function prometheus(path, parameters, options) {
  const answer = await ask(`api/v1/${path}`, parameters, options);
  return { data: answer.data, warnings: answer.warnings ?? [], infos: answer.infos ?? [] };
}

/** Rows of a function of schema api. */
export const rpc = (name, given, options) => ask(`rpc/${name}`, {}, { json: given, ...options });

const remembered = new Map();

/** What was asked before with this key is not asked again for a minute; what failed is. */
export function remember(name, load) {
  const known = remembered.get(name);
  if (known && Date.now() - known.at < 60_000) return known.promise;
  const promise = load();
  remembered.set(name, { at: Date.now(), promise });
  promise.catch(() => remembered.delete(name));
  return promise;
}

/** Ask everything anew. */
export const forget = () => remembered.clear();

/** Labels of a metric (of all, without one), and values of a label. */
export const labelNames = (metric) => remember(`labels ${metric}`, async () =>
  (await prometheus("labels", metric ? [["match[]", selectorOf(metric)]] : [])).data.filter((name) => name !== "__name__"));

export const labelValues = (label, metric) => remember(`values ${label} ${metric}`, async () =>
  (await prometheus(`label/${encodeURIComponent(label)}/values`, metric ? [["match[]", selectorOf(metric)]] : [])).data);

export const metricNames = () => labelValues("__name__", "");

const selectorOf = (metric) => `{__name__=${JSON.stringify(metric)}}`;

/** Functions and aggregations of PromQL. */
export const language = () => remember("language", () => ask(LANGUAGE));

/** Whether the tenant of the key in use is known, and what the key may do. */
export const status = (options) => ask("ui/status", {}, options);
