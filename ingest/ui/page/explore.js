// Explore: queries one under another, with one period and one cursor.

import { Refused, ask, labelNames, labelValues, language, metricNames, prometheus, rpc, session, urlOf } from "./api.js";
import { Chart, commonOf, gridOf, nameOf } from "./chart.js";
import { announce, choice, copy, count, counted, debounced, duration, fill, h, secondsOf, timeText } from "./dom.js";
import { allMetrics } from "./metrics.js";
import { emptyDatabase, problem, sortable } from "./parts.js";
import { AGGREGATES, OPERATORS, OVER, asFunction, asPostgrest, asSql, contextOf, emptyParts, offers, partsOf, stepFor, written } from "./promql.js";

const RANGES = ["5m", "15m", "30m", "1h", "3h", "6h", "12h", "1d", "2d", "7d", "30d", "90d", "1y"];
const REFRESHES = [["", "No refresh"], ["5", "Every 5 s"], ["15", "Every 15 s"], ["60", "Every minute"], ["300", "Every 5 min"]];
const MOST_EVENTS = 500;
/** After this a query that is still under way says so, and can be cancelled. */
const SLOW_MS = 1500;

/** The view. `page`: `{state, go(changes), zone()}`. */
export function explore(page) {
  const panels = [];
  let events = [], timer;
  const known = { metrics: [], notes: new Map(), functions: {}, aggregations: [], labelNames, labelValues };
  const list = h("div", { class: "panels" });
  const eventList = h("div", {}), hint = h("div", {});
  const element = h("div", {}, h("h1", { class: "unseen" }, "Explore"), timeBar(page, () => runAll()), list,
    h("div", { class: "row" }, h("button", { type: "button", onclick: add }, "Add a query")), eventList, hint);

  function period() {
    const seconds = secondsOf(page.state.range) || 3600;
    const to = page.state.to ? Number(page.state.to) / 1000 : Date.now() / 1000;
    const step = stepFor(seconds, page.state.step, Math.max(60, Math.min(400, Math.round(list.clientWidth / 4))));
    const end = Math.floor(to / step) * step;
    return { start: end - Math.floor(seconds / step) * step, end, step, seconds };
  }

  function save(changes = {}) {
    page.go({ q: panels.map((panel) => panel.text()), exact: panels.flatMap((panel, index) => (panel.exact ? [index] : [])), ...changes });
  }

  function add() {
    const panel = newPanel("", false);
    panels.push(panel);
    list.append(panel.element);
    panel.focus();
  }

  function newPanel(text, exact) {
    const panel = queryPanel({
      text, exact, known, page, period,
      onrun: () => { save(); panel.run(events); },
      onremove: () => {
        panels.splice(panels.indexOf(panel), 1);
        panel.end();
        panel.element.remove();
        if (!panels.length) add();
        save();
      },
      onzoom: (from, to) => {
        page.go({ range: duration(Math.max(2, to - from)), to: Math.round(to * 1000), step: "" });
        runAll();
      },
      onmove: (where) => move(page, where, runAll),
    });
    return panel;
  }

  async function loadEvents() {
    events = [];
    if (page.state.events) {
      const { start, end } = period();
      const to = page.state.to ? end * 1000 + 1 : Date.now() + 1000;
      try {
        const rows = await ask("api/v1/event", { shape: "flat", limit: MOST_EVENTS, from: new Date(start * 1000).toISOString(), to: new Date(to).toISOString() });
        events = rows.map((row) => ({ seconds: Date.parse(row.time) / 1000, name: row.name, text: textOf(row.attributes) }));
      } catch (error) {
        if (error instanceof Refused) return fill(eventList, problem(error, "Events"));
        throw error;
      }
    }
    return fill(eventList, page.state.events ? eventTable(events, page.zone()) : null);
  }

  async function runAll() {
    await loadEvents();
    await Promise.all(panels.map((panel) => panel.run(events)));
  }

  (page.state.q.length ? page.state.q : [""]).forEach((text, index) => {
    const panel = newPanel(text, page.state.exact.includes(index));
    panels.push(panel);
    list.append(panel.element);
  });
  Promise.all([metricNames(), language()]).then(([metrics, { functions, aggregations }]) => {
    Object.assign(known, { metrics, functions, aggregations });
    panels.forEach((panel) => panel.ready());
    fill(hint, metrics.length ? null : emptyDatabase());
    return allMetrics();
  }).then((all) => {
    for (const { name, type, help } of all) known.notes.set(name, [type, help].filter(Boolean).join(": ") || "metric");
  }).catch((error) => { if (!(error instanceof Refused)) throw error; /* the first query says what is wrong */ });
  const rearm = () => {
    clearInterval(timer);
    const seconds = Number(page.state.refresh);
    if (seconds) timer = setInterval(() => { if (!document.hidden && !page.state.to) runAll(); }, seconds * 1000);
  };
  rearm();
  queueMicrotask(() => {
    runAll();
    if (!page.state.q.some(Boolean)) panels[0].focus();
  });
  return {
    element,
    refreshed: rearm,
    redraw: () => panels.forEach((panel) => panel.redraw()),
    again: runAll,
    end: () => { clearInterval(timer); panels.forEach((panel) => panel.end()); },
  };
}

const textOf = (attributes) => Object.entries(attributes ?? {}).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ").slice(0, 200);

/** Period, step, refresh, marks. */
function timeBar(page, runAll) {
  const bar = h("form", { class: "row toolbar", onsubmit: (event) => event.preventDefault(), "aria-label": "Period" });
  const set = (changes) => { page.go(changes); draw(); runAll(); };
  function draw() {
    const { state } = page;
    const ranges = RANGES.includes(state.range) ? RANGES : [state.range, ...RANGES];
    fill(bar,
      h("span", { class: "group" },
        h("button", { type: "button", title: "Earlier", "aria-label": "Earlier", onclick: () => move(page, "left", () => set({})) }, "‹"),
        choice("Period", ranges.map((range) => [range, `Last ${range}`]), state.range, (range) => set({ range, step: "" })),
        h("button", { type: "button", title: "Later", "aria-label": "Later", onclick: () => move(page, "right", () => set({})) }, "›"),
        h("button", { type: "button", title: "Zoom out", "aria-label": "Zoom out", onclick: () => move(page, "out", () => set({})) }, "−"),
        h("button", { type: "button", title: "Zoom in", "aria-label": "Zoom in", onclick: () => move(page, "in", () => set({})) }, "+")),
      h("label", { class: "field" }, h("span", {}, "to"),
        h("input", { type: "datetime-local", step: "1", value: state.to ? timeText(Number(state.to) / 1000, page.zone()).replace(" ", "T").slice(0, 19) : "",
          onchange: (event) => set({ to: millisecondsOf(event.target.value, page.zone()) }) })),
      state.to ? h("button", { type: "button", onclick: () => set({ to: "" }) }, "Now") : null,
      h("label", { class: "field" }, h("span", {}, "step"),
        h("input", { class: "narrow", placeholder: "auto", value: state.step, "aria-label": "Step, such as 1m", onchange: (event) => set({ step: event.target.value.trim() }) })),
      choice("Refresh", REFRESHES, String(state.refresh), (refresh) => page.go({ refresh })),
      h("label", { class: "field" }, h("input", { type: "checkbox", checked: state.events, onchange: (event) => set({ events: event.target.checked }) }), h("span", {}, "Events")),
      h("span", { class: "group", role: "group", "aria-label": "Shown as" }, ["chart", "table"].map((tab) =>
        h("button", { type: "button", "aria-pressed": state.tab === tab ? "true" : "false", onclick: () => set({ tab }) }, tab === "chart" ? "Chart" : "Table"))),
      h("button", { type: "button", onclick: () => set({}), title: "Ask again" }, "Refresh"));
  }
  draw();
  page.onchange(draw);
  return bar;
}

/** What a `datetime-local` says, in the zone of the page. */
function millisecondsOf(text, zone) {
  if (!text) return "";
  const read = Date.parse(zone ? `${text}Z` : text);
  return Number.isNaN(read) ? "" : read;
}

/** Move or zoom the period; `back` is the browser's. */
function move(page, where, done) {
  const seconds = secondsOf(page.state.range) || 3600;
  const to = page.state.to ? Number(page.state.to) : Date.now();
  if (where === "back") return history.back();
  if (where === "out" || where === "in") {
    const wanted = Math.max(2, where === "out" ? seconds * 2 : seconds / 2);
    const middle = to - seconds * 500;
    page.go({ range: duration(wanted), to: page.state.to || where === "in" ? Math.min(Date.now(), Math.round(middle + wanted * 500)) : "", step: "" });
  } else {
    const moved = Math.round(to + (where === "left" ? -500 : 500) * seconds);
    page.go({ to: moved >= Date.now() ? "" : moved });
  }
  return done();
}

/** One query with its answer. */
function queryPanel({ text, exact, known, page, period, onrun, onremove, onzoom, onmove }) {
  let tree = null, answer = null, running = null, chart = null, builder = null;
  const input = queryBox(text, known, {
    onrun: () => { refreshTree().then(onrun); },
    onchange: debounced(400, async () => {
      tree = null;
      if (!builder) return; // half a query is wrong most of the time: it is judged when it runs
      await refreshTree();
      drawBuilder();
    }),
  });
  const status = h("div", { class: "panel-status", role: "status" });
  const notes = h("div", {});
  const body = h("div", {});
  const builderPlace = h("div", {});
  const panel = { exact, element: null, text: () => input.text(), focus: () => input.focus(), run, redraw, end, ready };
  const exactBox = h("input", { type: "checkbox", checked: exact, onchange: () => { panel.exact = exactBox.checked; onrun(); } });
  const builderButton = h("button", { type: "button", "aria-expanded": "false", onclick: () => toggleBuilder() }, "Builder");
  panel.element = h("section", { class: "panel", "aria-label": "Query" },
    input.element,
    h("div", { class: "row" },
      h("button", { type: "button", class: "primary", onclick: () => { refreshTree().then(onrun); } }, "Run"),
      builderButton,
      h("label", { class: "field", title: "Ask api.query_metric, whose values are exact decimals. For queries that the builder can write" }, exactBox, h("span", {}, "Exact decimals")),
      copyMenu(),
      h("button", { type: "button", class: "quiet end", onclick: onremove, "aria-label": "Remove this query" }, "Remove")),
    builderPlace, status, notes, body);

  function ready() { if (builder) drawBuilder(); }

  /** What the query is made of, or where it is wrong. */
  async function refreshTree() {
    const query = input.text();
    tree = null;
    if (!query.trim()) { input.mark(null); return; }
    try {
      tree = (await prometheus("parse_query", { query }, { form: true })).data;
      input.mark(null);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.kind === "query") input.mark(error);
    }
  }

  async function toggleBuilder() {
    if (!builder) await refreshTree();
    builder = builder ? null : tree ? partsOf(tree) ?? emptyParts() : emptyParts();
    builderButton.setAttribute("aria-expanded", builder ? "true" : "false");
    drawBuilder();
  }

  function drawBuilder() {
    if (!builder) return fill(builderPlace);
    const parts = tree ? partsOf(tree) : emptyParts();
    if (tree && !parts) return fill(builderPlace, h("p", { class: "soft" }, "The builder has no form for this query: it goes on as text."));
    builder = parts.metric ? parts : builder;
    return fill(builderPlace, builderForm(builder, known, async () => {
      input.set(written(builder));
      await refreshTree();
      if (builder.metric) onrun();
    }));
  }

  async function run(events) {
    running?.abort();
    const query = input.text();
    if (!query.trim()) { answer = null; fill(status); fill(notes); fill(body); return; }
    const mine = (running = new AbortController());
    const { start, end, step } = period();
    const began = performance.now();
    const slow = setTimeout(() => fill(status, "Still asking… ", h("button", { type: "button", onclick: () => mine.abort() }, "Cancel")), SLOW_MS);
    panel.element.setAttribute("aria-busy", "true");
    try {
      const asked = { query, start, end, step, signal: mine.signal };
      if (!tree) await refreshTree();
      answer = panel.exact ? await askExactly(asked) : page.state.tab === "table" ? await askInstant(asked) : await askRange(asked);
      Object.assign(answer, { query, start, end, step, events, milliseconds: performance.now() - began });
      input.mark(null);
      fill(notes, answer.warnings.map((note) => h("p", { class: "notice warning" }, note)), answer.infos.map((note) => h("p", { class: "notice" }, note)));
      draw();
    } catch (error) {
      if (error.name === "AbortError") { if (running === mine) fill(status, "Cancelled"); return; }
      if (!(error instanceof Refused)) throw error;
      answer = null;
      chart?.destroy();
      chart = null;
      input.mark(error.kind === "query" ? error : null);
      fill(status);
      fill(notes, error.kind === "query" && error.place ? null : problem(error, "The query"));
      fill(body);
    } finally {
      clearTimeout(slow);
      if (running === mine) panel.element.removeAttribute("aria-busy");
    }
  }

  async function askRange({ query, start, end, step, signal }) {
    const { data, warnings, infos } = await prometheus("query_range", { query, start, end, step }, { form: true, signal });
    const series = data.result.map((one) => ({ labels: one.metric, points: one.values ?? [], histograms: one.histograms?.length ?? 0 }));
    return { series, warnings, infos };
  }

  async function askInstant({ query, end, signal }) {
    const { data, warnings, infos } = await prometheus("query", { query, time: page.state.to ? end : undefined }, { form: true, signal });
    if (data.resultType === "scalar" || data.resultType === "string") return { series: [{ labels: {}, points: [data.result] }], warnings, infos };
    const series = data.result.map((one) => ({
      labels: one.metric, points: one.values ?? (one.value ? [one.value] : []),
      histograms: one.histogram ? 1 : one.histograms?.length ?? 0, histogram: one.histogram?.[1],
    }));
    return { series, warnings, infos };
  }

  async function askExactly({ start, end, step, signal }) {
    const asked = asFunction(tree ? partsOf(tree) : null, { start, end: end + step, step });
    if (asked.why) throw new Refused("query", `${asked.why}: without "Exact decimals" this is answered as PromQL`);
    const rows = await rpc("query_metric", asked.arguments, { signal });
    const groups = new Map();
    for (const row of rows) {
      const key = JSON.stringify(row.labels);
      if (!groups.has(key)) groups.set(key, { labels: row.labels, points: [] });
      groups.get(key).points.push([Date.parse(row.timestamp) / 1000, row.value]);
    }
    const series = [...groups.values()];
    if (page.state.tab === "table") series.forEach((one) => { one.points = one.points.slice(-1); });
    return { series, warnings: [], infos: [] };
  }

  function draw() {
    const { series, start, end, step, events, milliseconds } = answer;
    const points = series.reduce((sum, one) => sum + one.points.length, 0);
    const histograms = series.filter((one) => one.histograms).length;
    fill(status, `${counted(series.length, "series", "series")}, ${counted(points, "point")}, ${Math.round(milliseconds)} ms`
      + (page.state.tab === "chart" ? `, step ${duration(step)}` : ""),
      series.length > 1 && page.state.tab === "chart" ? h("span", { class: "common" }, nameOf(commonOf(series.map((one) => one.labels))).replace(/^value$/, "")) : null);
    if (histograms) {
      notes.append(h("p", { class: "notice" }, `${count(histograms)} of the series are native histograms, which have no line of their own: ask for histogram_quantile(0.9, …), histogram_count(…) or histogram_avg(…).`));
    }
    if (!series.length) {
      chart?.destroy();
      chart = null;
      return fill(body, h("p", { class: "empty" }, "Nothing in this period. A longer one, or other labels?"));
    }
    if (page.state.tab === "table") {
      chart?.destroy();
      chart = null;
      return fill(body, resultTable(series, page.zone()));
    }
    if (!chart) chart = new Chart({ title: answer.query, onzoom, onmove, sync: "explore" });
    chart.title = answer.query;
    if (chart.element.parentNode !== body) fill(body, chart.element);
    return chart.show(gridOf(series, start, end, step), { zone: page.zone(), events, step });
  }

  function redraw() { if (answer) draw(); }

  function end() {
    running?.abort();
    chart?.destroy();
  }

  function copyMenu() {
    const select = h("select", { "aria-label": "Copy this query as", onchange: () => { const as = select.value; select.value = ""; copyAs(as); } },
      [["", "Copy as…"], ["promql", "PromQL"], ["curl", "curl"], ["sql", "SQL"], ["postgrest", "postgrest-js"], ["csv", "CSV of the answer"]]
        .map(([value, label]) => h("option", { value }, label)));
    return select;
  }

  async function copyAs(as) {
    await refreshTree();
    const { start, end, step } = period();
    const asked = asFunction(tree ? partsOf(tree) : null, { start, end: end + step, step });
    if ((as === "sql" || as === "postgrest") && asked.why) return fill(notes, h("p", { class: "notice" }, `${asked.why}.`));
    if (as === "csv" && !answer) return fill(notes, h("p", { class: "notice" }, "There is no answer yet: run the query first."));
    const copied = {
      promql: () => input.text(),
      curl: () => curl(input.text(), { start, end, step }),
      sql: () => asSql(asked.arguments),
      postgrest: () => asPostgrest(asked.arguments, urlOf("").replace(/\/$/, "")),
      csv: () => csv(answer.series),
    }[as]();
    const isCopied = await copy(copied, as);
    return fill(notes, h("details", { class: "copied", open: true },
      h("summary", {}, isCopied ? "Copied to the clipboard" : "The browser lets no page without TLS use the clipboard: select and copy"),
      h("textarea", { readonly: true, rows: Math.min(12, copied.split("\n").length + 1), "aria-label": "Text to copy", value: copied, onfocus: (event) => event.target.select() })));
  }

  return panel;
}

/** The key itself is never written out. */
function curl(query, { start, end, step }) {
  const key = session.current ? ` \\\n  -H "Authorization: Bearer $PROMGRES_KEY"` : "";
  const quoted = `'query=${query.replaceAll("'", `'\\''`)}'`;
  return `curl -G ${urlOf("api/v1/query_range")}${key} \\\n  --data-urlencode ${quoted} \\\n  -d start=${start} -d end=${end} -d step=${step}\n`;
}

function csv(series) {
  const labels = [...new Set(series.flatMap((one) => Object.keys(one.labels)))];
  // What a spreadsheet would take for a formula is text.
  const cell = (text = "") => {
    const safe = /^[=+@\t\r]|^-(?![\d.]|Inf)/.test(text) ? `'${text}` : String(text);
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = series.flatMap((one) => one.points.map(([seconds, value]) =>
    [new Date(seconds * 1000).toISOString(), ...labels.map((label) => one.labels[label]), value].map(cell).join(",")));
  return [["timestamp", ...labels, "value"].map(cell).join(","), ...lines].join("\n") + "\n";
}

/** The newest value of each series, or all that an instant query answered. */
function resultTable(series, zone) {
  const labels = [...new Set(series.flatMap((one) => Object.keys(one.labels)))].sort((one, other) => (one === "__name__" ? -1 : other === "__name__" ? 1 : one < other ? -1 : 1));
  const rows = series.map((one) => {
    const [seconds, value] = one.points.at(-1) ?? [null, one.histogram ? `count ${one.histogram.count}, sum ${one.histogram.sum}` : ""];
    return { ...one.labels, "\0time": seconds === null ? "" : timeText(seconds, zone), "\0value": value };
  });
  const columns = [...labels.map((label) => [label, label === "__name__" ? "metric" : label]), ["\0time", "time"], ["\0value", "value"]];
  return sortable(columns, rows, "Values", { numeric: ["\0time", "\0value"] });
}

function eventTable(events, zone) {
  if (!events.length) return h("p", { class: "soft" }, "No events in this period. ", h("code", {}, `curl … /api/v1/event -d '{"name": "deployed"}'`), " makes one.");
  return h("details", {}, h("summary", {}, counted(events.length, "event")),
    sortable([["time", "time"], ["name", "event"], ["text", "attributes"]], events.map((event) => ({ ...event, time: timeText(event.seconds, zone) })), "Events"));
}

/** The box that a query is typed into, with what may come next, and marks where it is wrong. */
function queryBox(text, known, { onrun, onchange }) {
  const id = `q${Math.random().toString(36).slice(2)}`;
  let offered = [], picked = -1, context = null;
  const area = h("textarea", {
    id, class: "query", rows: "1", spellcheck: "false", autocomplete: "off", autocapitalize: "off", "aria-label": "PromQL query",
    "aria-autocomplete": "list", "aria-controls": `${id}-list`, placeholder: "PromQL, such as rate(http_requests_total[5m])", value: text,
    oninput: () => { size(); mark(null); onchange(); offer(); }, onkeydown: key, onblur: () => setTimeout(close, 150), onclick: close,
  });
  const behind = h("div", { class: "query-marks", "aria-hidden": "true" });
  const popup = h("ul", { class: "offers", id: `${id}-list`, role: "listbox", "aria-label": "Completions", hidden: true });
  const message = h("p", { class: "query-error", id: `${id}-error`, hidden: true });
  const element = h("div", { class: "query-box" }, h("div", { class: "query-layers" }, behind, area, popup), message);

  function size() {
    area.rows = Math.min(12, Math.max(1, area.value.split("\n").length));
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight + 2}px`;
  }

  /** Underline where an error is, and say it. */
  function mark(error) {
    const { value } = area;
    message.hidden = !error;
    area.toggleAttribute("aria-invalid", Boolean(error));
    if (error) area.setAttribute("aria-invalid", "true");
    error ? area.setAttribute("aria-describedby", `${id}-error`) : area.removeAttribute("aria-describedby");
    fill(behind);
    if (!error) return;
    const { place } = error;
    message.textContent = place ? `Line ${place.line}, column ${place.column}: ${error.message}` : error.message;
    if (!place) return;
    const lines = value.split("\n");
    const start = Math.min(value.length, lines.slice(0, place.line - 1).reduce((sum, line) => sum + line.length + 1, 0) + place.column - 1);
    const token = value.slice(start).match(/^([\w:]+|"[^"]*"?|\S)/)?.[0] ?? " ";
    fill(behind, value.slice(0, start), h("mark", {}, token), value.slice(start + token.length));
  }

  async function offer(asked = false) {
    context = contextOf(area.value.slice(0, area.selectionStart));
    const mine = context;
    if (!asked && !context.typed && context.kind === "word") return close();
    let found = [];
    try { found = await offers(context, known, area.value.slice(area.selectionStart)); } catch { /* the query itself will say it */ }
    if (mine !== context || document.activeElement !== area) return undefined;
    offered = found;
    picked = -1;
    return draw();
  }

  function draw() {
    popup.hidden = !offered.length;
    fill(popup, offered.map((one, index) => h("li", {
      role: "option", id: `${id}-${index}`, "aria-selected": index === picked ? "true" : "false",
      onpointerdown: (event) => { event.preventDefault(); take(index); },
    }, h("span", {}, one.text), h("span", { class: "soft" }, one.note))));
    if (picked >= 0) {
      area.setAttribute("aria-activedescendant", `${id}-${picked}`);
      popup.children[picked].scrollIntoView({ block: "nearest" });
    } else area.removeAttribute("aria-activedescendant");
    if (offered.length && picked < 0) announce(`${counted(offered.length, "completion")}`);
  }

  function close() {
    offered = [];
    picked = -1;
    draw();
  }

  function take(index) {
    const { text: whole, then = "" } = offered[index];
    const end = area.selectionStart, start = end - context.typed.length;
    const rest = area.value.slice(end);
    const closing = context.kind === "value" ? (/^["'`]/.test(rest) ? "" : '"') : rest.startsWith("(") ? "" : then;
    const put = (context.kind === "value" ? JSON.stringify(whole).slice(1, -1) : whole) + closing;
    area.setRangeText(put, start, end, "end");
    close();
    size();
    area.focus();
    onchange();
  }

  function key(event) {
    if (event.key === "Enter" && !event.shiftKey && picked < 0) { event.preventDefault(); close(); onrun(); return; }
    if (event.key === " " && event.ctrlKey) { event.preventDefault(); offer(true); return; }
    if (!offered.length) return;
    const to = { ArrowDown: Math.min(offered.length - 1, picked + 1), ArrowUp: Math.max(-1, picked - 1) }[event.key];
    if (to !== undefined) { picked = to; draw(); event.preventDefault(); }
    else if (event.key === "Escape") { close(); event.preventDefault(); }
    else if (event.key === "Enter" || (event.key === "Tab" && !event.shiftKey)) {
      if (picked < 0 && event.key === "Tab") picked = 0;
      take(picked);
      event.preventDefault();
    }
  }

  queueMicrotask(size);
  return { element, mark, text: () => area.value, focus: () => area.focus(), set: (value) => { area.value = value; size(); mark(null); } };
}

/** The form that writes a query. */
function builderForm(parts, known, onwrite) {
  const form = h("form", { class: "builder", "aria-label": "Query builder", onsubmit: (event) => event.preventDefault() });
  let labels = [];
  const changed = () => onwrite();
  const options = (id, values) => h("datalist", { id }, values.slice(0, 2000).map((value) => h("option", { value })));
  const unique = Math.random().toString(36).slice(2);

  function matchRow(one, index) {
    const listId = `${unique}-v${index}`, values = h("datalist", { id: listId });
    const load = async () => {
      if (!one.name) return;
      try { fill(values, (await labelValues(one.name, parts.metric)).slice(0, 2000).map((value) => h("option", { value }))); } catch { /* typed by hand, then */ }
    };
    load();
    return h("div", { class: "row" },
      choice("Label", [["", "label…"], ...[...new Set([...labels, one.name])].filter(Boolean).map((name) => [name, name])], one.name, (name) => { one.name = name; one.value = ""; draw(); }),
      choice("Compared by", Object.entries(OPERATORS).map(([word, sign]) => [sign, word]), one.type, (type) => { one.type = type; changed(); }),
      h("input", { list: listId, value: one.value, "aria-label": `Value of ${one.name || "the label"}`, placeholder: "value", onfocus: load, onchange: (event) => { one.value = event.target.value; changed(); } }),
      values,
      h("button", { type: "button", class: "quiet", "aria-label": `Without ${one.name || "this label"}`, onclick: () => { parts.match.splice(index, 1); draw(); changed(); } }, "×"));
  }

  function draw() {
    fill(form,
      h("label", { class: "field" }, h("span", {}, "Metric"),
        h("input", { list: `${unique}-m`, class: "wide", value: parts.metric, onchange: async (event) => { parts.metric = event.target.value.trim(); parts.match = []; parts.by = []; await loadLabels(); changed(); } }),
        options(`${unique}-m`, known.metrics)),
      h("fieldset", {}, h("legend", {}, "Where"), parts.match.map(matchRow),
        h("button", { type: "button", onclick: () => { parts.match.push({ name: "", type: "=", value: "" }); draw(); } }, "Add a label")),
      h("div", { class: "row" },
        h("label", { class: "field" }, h("span", {}, "Over time"), choice("Over time", OVER.map((name) => [name, name || "as it is"]), parts.over, (over) => { parts.over = over; draw(); changed(); })),
        parts.over ? h("label", { class: "field" }, h("span", {}, "of"), h("input", { class: "narrow", value: parts.width, onchange: (event) => { parts.width = event.target.value.trim() || "5m"; changed(); } })) : null,
        h("label", { class: "field" }, h("span", {}, "Aggregate"), choice("Aggregate", AGGREGATES.map((name) => [name, name || "none"]), parts.aggregate, (aggregate) => { parts.aggregate = aggregate; draw(); changed(); }))),
      parts.aggregate ? h("fieldset", {}, h("legend", {}, "By"), labels.length ? labels.map((name) => h("label", { class: "chip" },
        h("input", { type: "checkbox", checked: parts.by.includes(name), onchange: (event) => { parts.by = event.target.checked ? [...parts.by, name] : parts.by.filter((one) => one !== name); changed(); } }), name))
        : h("span", { class: "soft" }, "This metric has no labels")) : null);
  }

  async function loadLabels() {
    try { labels = await labelNames(parts.metric); } catch { labels = []; }
    draw();
  }
  draw();
  loadLabels();
  return form;
}
