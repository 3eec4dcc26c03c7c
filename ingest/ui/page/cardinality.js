// Cardinality: where series come from, and what could go.

import { Refused, rpc } from "./api.js";
import { count, counted, fill, h, choice } from "./dom.js";
import { emptyDatabase, problem, sortable } from "./parts.js";

/** The view. */
export function cardinality(page) {
  const body = h("div", {}, h("p", { class: "soft" }, "Counting…"));
  const element = h("div", {}, h("h1", {}, "Cardinality"), body);

  async function load() {
    try {
      const rows = await rpc("cardinality", { p_limit: Number(page.state.top) });
      const of = (kind) => rows.filter((row) => row.kind === kind);
      const total = of("all")[0]?.series ?? 0;
      fill(body, total ? shown(total, of) : emptyDatabase());
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      fill(body, problem(error, "Cardinality"));
    }
  }

  function shown(total, of) {
    const metrics = of("metric"), values = new Map(of("values").map((row) => [row.name, row.series]));
    return [
      h("div", { class: "row" }, h("p", {}, h("strong", { class: "figure" }, count(total)), " series"),
        choice("How many rows", [["20", "top 20"], ["50", "top 50"], ["200", "top 200"]], page.state.top, (top) => { page.go({ top }); load(); })),
      h("div", { class: "columns" },
        card("Series by metric", sortable([["name", "metric"], ["series", "series"], ["share", "share"], ["drop", "drop it"]],
          metrics.map((row) => ({ ...row, share: (100 * row.series) / total })), "Series by metric", {
            numeric: ["series", "share"],
            cell: (name, row) => ({
              name: () => h("a", { href: page.link({ view: "explore", q: [`count({__name__=${JSON.stringify(row.name)}})`], exact: [] }) }, row.name),
              series: () => count(row.series), share: () => `${row.share.toFixed(1)} %`,
              drop: () => h("button", { type: "button", class: "quiet", "aria-label": `How to drop ${row.name}`, onclick: () => advise(row) }, "how"),
            })[name](),
          })),
        card("Series by label", sortable([["name", "label"], ["series", "series that have it"], ["values", "values"]],
          of("label").map((row) => ({ ...row, values: values.get(row.name) ?? "" })), "Series by label", {
            numeric: ["series", "values"], cell: (name, row) => (name === "name" || row[name] === "" ? row[name] : count(row[name])),
          })),
        card("New series a day (UTC)", bars(of("new on")))),
      advice,
    ];
  }

  const advice = h("div", { role: "status" });

  function advise({ name, series }) {
    const lower = name.toLowerCase();
    fill(advice, h("div", { class: "card" }, h("h2", {}, `${name} has ${counted(series, "series", "series")}`),
      h("p", {}, "To take no more of it, a rule in promgres.toml, before all others (promgres route says what it does):"),
      h("pre", { tabindex: "0" }, `[[route]]\nmatch = { name = [${JSON.stringify(lower)}] }\ndrop = true`),
      h("p", {}, "Or where it is scraped, which saves the way as well:"),
      h("pre", { tabindex: "0" }, `metric_relabel_configs:\n  - source_labels: [__name__]\n    regex: ${name}\n    action: drop`),
      h("p", { class: "soft" }, "What is stored stays, until its retention ends.")));
    advice.scrollIntoView({ block: "nearest" });
  }

  load();
  return { element, again: load, end: () => {} };
}

const card = (title, ...children) => h("section", { class: "card" }, h("h2", {}, title), children);

/** A row a day, with a bar. */
function bars(days) {
  if (!days.length) return h("p", { class: "soft" }, "None is on record.");
  const most = Math.max(...days.map((day) => day.series));
  return h("table", {}, h("caption", { class: "unseen" }, "New series a day"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "day"), h("th", { scope: "col", class: "number" }, "new series"), h("td", {}))),
    h("tbody", {}, days.map((day) => h("tr", {}, h("td", {}, day.name), h("td", { class: "number" }, count(day.series)),
      h("td", { class: "bar-cell" }, h("meter", { min: "0", max: String(most), value: String(day.series), "aria-hidden": "true" }))))));
}
