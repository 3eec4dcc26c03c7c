// PromQL as far as the page needs it: what may stand at the cursor, and queries that the builder can
// write. Whether a query is right, and what it is made of, the server says (`parse_query`).

import { duration, secondsOf } from "./dom.js";

const KEYWORDS = ["by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "and", "or", "unless", "atan2"];
const WIDTHS = ["1m", "5m", "15m", "30m", "1h", "6h", "12h", "1d", "7d"];
const MOST_OFFERED = 60;
const TOKEN = /(#[^\n]*)|("(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|`[^`]*`?)|([a-zA-Z_:][\w:.]*)|(=~|!~|!=|==|<=|>=|[{}()[\],=<>+\-*/%^@])|([\d.]\w*)|\s+|./g;

/**
 * What is being typed at the end of `text`, the query up to the cursor.
 *
 * kind: `word` (a metric or function), `label`, `value`, `width`, or null; `typed`: the part of it
 * that is there; `metric`, `label`: what it belongs to.
 */
export function contextOf(text) {
  const stack = [];
  let last = null, metric = "", label = "", previous = "";
  for (const match of text.matchAll(TOKEN)) {
    const [whole, comment, string, word, sign] = match;
    const isLast = match.index + whole.length === text.length;
    last = null;
    if (comment !== undefined) { if (isLast) return { kind: null, typed: "" }; continue; }
    if (string !== undefined) {
      const isOpen = string.length === 1 || !string.endsWith(string[0]);
      if (isLast && isOpen) {
        const kind = stack.at(-1) === "{" && label ? "value" : null;
        return { kind, typed: string.slice(1), metric, label };
      }
      continue;
    }
    if (word !== undefined) {
      if (stack.at(-1) === "{" || stack.at(-1) === "names") label = word;
      else if (!KEYWORDS.includes(word)) metric = word;
      if (isLast) last = word;
      previous = word;
      continue;
    }
    if (sign === "(") stack.push(["by", "without", "on", "ignoring", "group_left", "group_right"].includes(previous) ? "names" : "(");
    else if (sign === "{" || sign === "[") { stack.push(sign); label = ""; }
    else if (sign === ")" || sign === "}" || sign === "]") stack.pop();
    if (sign !== undefined) previous = sign;
    if (sign === "," && stack.at(-1) === "{") label = "";
    if (match[5] !== undefined && isLast) last = stack.at(-1) === "[" ? whole : undefined;
  }
  if (last === undefined) return { kind: null, typed: "" };
  const inside = stack.at(-1);
  if (inside === "[") return { kind: "width", typed: last ?? "" };
  if (inside === "names") return { kind: "label", typed: last ?? "", metric: metricBefore(text) };
  if (inside === "{") {
    const isName = /[{,]\s*[\w:.]*$/.test(text);
    return { kind: isName ? "label" : null, typed: last ?? "", metric };
  }
  return { kind: "word", typed: last ?? "", metric };
}

/** The metric whose labels `by (` may mean: of `sum by (` it comes only after. */
const metricBefore = (text) => text.match(/([a-zA-Z_:][\w:]*)\s*(?:\{[^{}]*\}|\[[^\]]*\])/)?.[1] ?? "";

/**
 * What may be put at the cursor: `{text, note}` each, the best first.
 *
 * known: `{functions, aggregations, metrics, labelNames(metric), labelValues(label, metric)}`.
 */
export async function offers(context, known, after = "") {
  const { kind, typed } = context;
  if (kind === null) return [];
  let all = [];
  if (kind === "width") all = WIDTHS.map((text) => ({ text, note: "range" }));
  else if (kind === "label") {
    const metric = context.metric || metricBefore(after);
    all = (await known.labelNames(known.metrics.includes(metric) ? metric : "")).map((text) => ({ text, note: "label" }));
  } else if (kind === "value") {
    const metric = known.metrics.includes(context.metric) ? context.metric : "";
    all = (await known.labelValues(context.label, metric)).map((text) => ({ text, note: context.label }));
  } else {
    if (!typed) return [];
    all = [
      ...known.metrics.map((text) => ({ text, note: known.notes.get(text) ?? "metric" })),
      ...Object.keys(known.functions).map((text) => ({ text, note: "function", then: "(" })),
      ...known.aggregations.map((text) => ({ text, note: "aggregation" })),
      ...KEYWORDS.map((text) => ({ text, note: "keyword" })),
    ];
  }
  const lowered = typed.toLowerCase();
  const ranked = all
    .map((offer) => ({ ...offer, rank: rankOf(offer.text.toLowerCase(), lowered) }))
    .filter((offer) => offer.rank < 3 && offer.text !== typed);
  return ranked.sort((one, other) => one.rank - other.rank || one.text.length - other.text.length).slice(0, MOST_OFFERED);
}

/** 0: begins so; 1: a word of it does; 2: has it somewhere; 3: not. */
function rankOf(text, typed) {
  if (text.startsWith(typed)) return 0;
  if (text.includes(`_${typed}`) || text.includes(`:${typed}`)) return 1;
  return text.includes(typed) ? 2 : 3;
}

export const AGGREGATES = ["", "sum", "avg", "min", "max", "count", "p50", "p90", "p95", "p99"];
export const OVER = ["", "rate", "increase", "delta", "avg_over_time", "min_over_time", "max_over_time", "last_over_time"];
export const OPERATORS = { equal: "=", different: "!=", matches: "=~", "does not match": "!~" };

/** A query in parts: `{metric, match: [{name, type, value}], over, width, aggregate, by}`. */
export const emptyParts = () => ({ metric: "", match: [], over: "", width: "5m", aggregate: "", by: [] });

/** The query that these parts make. */
export function written(parts) {
  if (!parts.metric) return "";
  const isPlain = /^[a-zA-Z_:][\w:]*$/.test(parts.metric);
  const matchers = parts.match.filter((one) => one.name)
    .map((one) => `${nameOf(one.name)}${one.type}${JSON.stringify(one.value)}`);
  if (!isPlain) matchers.unshift(JSON.stringify(parts.metric));
  let text = (isPlain ? parts.metric : "") + (matchers.length ? `{${matchers.join(", ")}}` : "");
  if (parts.over) text = `${parts.over}(${text}[${parts.width || "5m"}])`;
  if (parts.aggregate) {
    const by = parts.by.length ? ` by (${parts.by.map(nameOf).join(", ")})` : "";
    const quantile = parts.aggregate.match(/^p(\d+)$/);
    text = quantile ? `quantile${by} (0.${quantile[1]}, ${text})` : `${parts.aggregate}${by}${by ? " " : ""}(${text})`;
  }
  return text;
}

const nameOf = (label) => (/^[a-zA-Z_]\w*$/.test(label) ? label : JSON.stringify(label));

/** The parts of a query, from what `parse_query` makes of it; null if the builder has no form for it. */
export function partsOf(tree) {
  const parts = emptyParts();
  let node = unwrapped(tree);
  if (node?.type === "aggregation") {
    if (node.without) return null;
    parts.by = node.grouping ?? [];
    const quantile = node.op === "quantile" && unwrapped(node.param)?.val?.match(/^0\.(50?|90?|95|99)$/);
    if (node.op === "quantile" && !quantile) return null;
    parts.aggregate = quantile ? `p${quantile[1].padEnd(2, "0")}` : node.op;
    if (!AGGREGATES.includes(parts.aggregate)) return null;
    node = unwrapped(node.expr);
  }
  if (node?.type === "call") {
    parts.over = node.func.name;
    if (!OVER.includes(parts.over) || node.args.length !== 1) return null;
    node = unwrapped(node.args[0]);
    if (node?.type !== "matrixSelector") return null;
    parts.width = duration(node.range / 1000);
  }
  if (!["vectorSelector", "matrixSelector"].includes(node?.type) || (node.type === "matrixSelector" && !parts.over)) return null;
  if (node.offset || node.timestamp || node.startOrEnd) return null;
  const named = node.matchers.filter((one) => one.name === "__name__");
  if (named.length !== 1 || named[0].type !== "=") return null;
  parts.metric = named[0].value;
  parts.match = node.matchers.filter((one) => one.name !== "__name__").map(({ name, type, value }) => ({ name, type, value }));
  return parts;
}

function unwrapped(node) {
  while (node?.type === "parenExpr") node = node.expr;
  return node;
}

/**
 * The same as arguments of `api.query_metric`, which has exact decimals; or `{why}` it cannot be asked
 * so. There an aggregate is of all samples of a step, so that sums and counts mean something else.
 */
export function asFunction(parts, { start, end, step }) {
  if (!parts) return { why: "Only what the builder can write has an equal in SQL" };
  if (parts.match.some((one) => one.type !== "=")) return { why: "In SQL labels are compared for equality only" };
  const { over, aggregate } = parts;
  const isRate = over === "rate" || over === "increase";
  if (isRate && !["", "sum"].includes(aggregate)) return { why: `In SQL ${over} is added up over series, nothing else` };
  if (over === "delta" || (!isRate && ["sum", "count"].includes(aggregate))) {
    return { why: `${over || aggregate} over series at one moment has no equal in SQL, where all samples of a step count` };
  }
  const within = { avg_over_time: "avg", min_over_time: "min", max_over_time: "max", last_over_time: "last" }[over];
  if (within && aggregate && within !== aggregate) return { why: "Two different aggregates are one too many for SQL" };
  return {
    arguments: {
      p_metric: parts.metric,
      p_match: Object.fromEntries(parts.match.map(({ name, value }) => [name, value])),
      p_by: aggregate ? parts.by : ["*"],
      p_aggregate: isRate ? over : aggregate || within || "last",
      p_step: `${Math.max(1, step)} seconds`,
      p_from: new Date(start * 1000).toISOString(),
      p_to: new Date(end * 1000).toISOString(),
    },
  };
}

const quoted = (text) => `'${String(text).replaceAll("'", "''")}'`;

/** A call of a function with such arguments, for people with SQL. */
export function asSql(given) {
  const lines = Object.entries(given).map(([name, value]) => {
    if (Array.isArray(value)) return `${name} => ARRAY[${value.map(quoted).join(", ")}]::text[]`;
    return `${name} => ${quoted(typeof value === "object" ? JSON.stringify(value) : value)}`;
  });
  return `SELECT "timestamp", labels, value\nFROM api.query_metric(\n    ${lines.join(",\n    ")}\n);\n`;
}

/** The same for applications with postgrest-js. */
export const asPostgrest = (given, url) =>
  `import { PostgrestClient } from "@supabase/postgrest-js";\n\n` +
  `const client = new PostgrestClient(${JSON.stringify(url)});\n` +
  `const { data, error } = await client.rpc("query_metric", ${JSON.stringify(given, null, 2)});\n`;

/** Steps that people count in. */
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800];

/** The step for a period: given, or so that there are about as many points as `points`. */
export function stepFor(seconds, asked, points = 240) {
  const given = secondsOf(asked);
  const least = seconds / 10_000;
  if (given > 0) return Math.max(given, Math.ceil(least));
  return STEPS.find((step) => step >= seconds / points) ?? Math.ceil(seconds / points / 604800) * 604800;
}
