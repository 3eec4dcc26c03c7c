// Metrics: all there are, found by name, with what senders say of them.

import { Refused, metricNames, prometheus, remember, rpc } from "./api.js";
import { ago, count, counted, debounced, fill, h, whenSeen } from "./dom.js";
import { emptyDatabase, problem } from "./parts.js";
import { written, emptyParts } from "./promql.js";

const MOST_SHOWN = 100;
const AGAIN_MS = 5000;
const SPARK = { width: 120, height: 28, seconds: 3600, steps: 60 };
/** So many sparklines are asked for at once: others ask as well. */
const AT_ONCE = 2;

/** Metrics by name as sent: `{name, type, unit, help, series, last_sample}` each. */
export const allMetrics = () => remember("metrics", async () => {
  const [names, rows] = await Promise.all([metricNames(), rpc("list_metrics", {})]);
  const told = new Map();
  for (const row of rows) {
    const known = told.get(row.name);
    if (!known) told.set(row.name, row);
    else Object.assign(known, { series: known.series + row.series, last_sample: later(known.last_sample, row.last_sample) });
  }
  return names.map((name) => ({ ...told.get(asciiLower(name)), name }));
});

const later = (one, other) => (one > other ? one : other) ?? one ?? other;
/** As routing lower-cases names. */
const asciiLower = (text) => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

/** Whether what counts is how fast it rises. */
const isCounter = ({ name, type }) => type === "counter" || /_(total|count|sum|bucket)$/.test(name);

/** A query that shows a metric well: counters by their rate, histograms by a quantile. */
export function usualQuery(metric) {
  const { name, series } = metric;
  const parts = { ...emptyParts(), metric: name };
  if (metric.type === "histogram" && name.endsWith("_bucket")) return `histogram_quantile(0.9, sum by (le) (rate(${written(parts)}[5m])))`;
  if (isCounter(metric)) parts.over = "rate";
  if (series > 50) parts.aggregate = parts.over ? "sum" : "avg";
  return written(parts);
}

/** The view. */
export function metrics(page) {
  let all = [], timer, waiting = [], underWay = 0;
  const box = h("input", { type: "search", class: "wide", "aria-label": "Search metrics by name, help, type or unit", placeholder: "Search metrics", value: page.state.search, oninput: debounced(120, () => { page.go({ search: box.value }, { replace: true }); draw(); }) });
  const found = h("p", { class: "soft", role: "status" });
  const list = h("div", {});
  const element = h("div", {}, h("h1", {}, "Metrics"), h("div", { class: "row" }, box, found), list);
  const seen = whenSeen((places) => { waiting.push(...places); next(); });

  async function load() {
    try {
      all = await allMetrics();
      draw();
      if (!all.length) again();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      fill(list, problem(error, "The list of metrics"));
      if (error.kind === "away" || error.kind === "busy") again();
    }
  }

  function again() {
    clearTimeout(timer);
    timer = setTimeout(() => { page.forget(); load(); }, AGAIN_MS);
  }

  function draw() {
    if (!all.length) {
      fill(found);
      if (!list.querySelector(".welcome")) fill(list, emptyDatabase());
      return;
    }
    const words = page.state.search.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = all.filter((one) => {
      const text = `${one.name} ${one.help ?? ""} ${one.type ?? ""} ${one.unit ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    fill(found, words.length ? `${count(matching.length)} of ${counted(all.length, "metric")}` : counted(all.length, "metric"));
    if (!matching.length) { fill(list, h("p", { class: "empty" }, `No metric has “${page.state.search}” in its name or help.`)); return; }
    const shown = matching.slice(0, page.state.all ? matching.length : MOST_SHOWN);
    fill(list, h("ul", { class: "metrics" }, shown.map(item)),
      matching.length > shown.length ? h("button", { type: "button", onclick: () => { page.state.all = true; draw(); } }, `Show all ${count(matching.length)}`) : null);
  }

  function item(metric) {
    const spark = h("span", { class: "spark", "data-metric": metric.name });
    spark.metric = metric;
    seen.observe(spark);
    const query = usualQuery(metric);
    return h("li", {},
      h("a", { class: "metric", href: page.link({ view: "explore", q: [query], exact: [] }) }, metric.name),
      h("span", { class: "facts" },
        metric.type && metric.type !== "unknown" ? h("span", { class: "tag" }, metric.type) : null,
        metric.unit ? h("span", { class: "tag" }, metric.unit) : null,
        metric.series !== undefined ? h("span", { class: "soft" }, counted(metric.series, "series", "series")) : null,
        metric.last_sample ? h("span", { class: "soft" }, ago((Date.now() - Date.parse(metric.last_sample)) / 1000)) : null),
      spark,
      metric.help ? h("span", { class: "help" }, metric.help) : null);
  }

  function next() {
    while (underWay < AT_ONCE && waiting.length) {
      const place = waiting.shift();
      if (!place.isConnected) continue;
      underWay += 1;
      sparkline(place.metric).then((drawing) => fill(place, drawing), () => fill(place)).finally(() => { underWay -= 1; next(); });
    }
  }

  fill(list, h("p", { class: "soft" }, "Loading…"));
  load();
  return { element, again: load, end: () => clearTimeout(timer), focus: () => box.focus() };
}

/** The last hour of a metric as a small picture; of counters what they gain. */
function sparkline(metric) {
  return remember(`spark ${metric.name}`, async () => {
    const end = Math.floor(Date.now() / 60_000) * 60;
    const parts = { ...emptyParts(), metric: metric.name };
    if (isCounter(metric)) parts.over = "rate";
    parts.aggregate = parts.over ? "sum" : "avg";
    const { data } = await prometheus("query_range", { query: written(parts), start: end - SPARK.seconds, end, step: SPARK.seconds / SPARK.steps }, { form: true });
    return drawn((data.result[0]?.values ?? []).map(([seconds, text]) => [seconds - end + SPARK.seconds, Number(text)]).filter(([, value]) => Number.isFinite(value)));
  }).then((drawing) => drawing?.cloneNode(true));
}

function drawn(points) {
  if (!points.length) return null;
  const values = points.map(([, value]) => value);
  const low = Math.min(...values), high = Math.max(...values);
  const { width, height, seconds, steps } = SPARK;
  let path = "", before = -Infinity;
  for (const [at, value] of points) {
    const x = (at / seconds) * width, y = high === low ? height / 2 : height - 3 - ((value - low) / (high - low)) * (height - 6);
    path += `${at - before > (1.5 * seconds) / steps ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    before = at;
  }
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" })) picture.setAttribute(name, value);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", points.length === 1 ? `${path}h0.1` : path);
  picture.append(line);
  return picture;
}
