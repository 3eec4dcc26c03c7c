// Health: whether all is well, for operators; one's own limits, for everybody who may read.

import { Refused, status } from "./api.js";
import { bytes, count, duration, fill, h, timeText } from "./dom.js";
import { problem, sortable } from "./parts.js";

const WORDS = { ok: "ok", warning: "warning", problem: "problem", unknown: "not asked" };

/** The view. */
export function health(page) {
  let timer;
  const body = h("div", {}, h("p", { class: "soft" }, "Asking…"));
  const element = h("div", {}, h("h1", {}, "Health"), body);

  async function load() {
    clearTimeout(timer);
    try {
      fill(body, shown(await status(), page.zone()));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      fill(body, problem(error, "Health"));
    }
    timer = setTimeout(load, 10_000);
  }

  load();
  return { element, again: load, end: () => clearTimeout(timer) };
}

function shown(said, zone) {
  return [
    h("p", { class: "verdict" }, level(said.ready ? "ok" : "problem"), said.ready ? "The read side is ready" : `The read side is not ready: ${said.why}`),
    said.checks ? checks(said.checks) : h("div", { class: "notice" }, h("strong", {}, "The rest is for operators"),
      h("div", {}, "A key with scope admin shows what promgres doctor would say: promgres key create default --scope admin")),
    h("div", { class: "columns" },
      card("Limits and usage", h("p", { class: "soft" }, `Tenant ${said.tenant}`), said.limits.length ? facts(said.limits) : h("p", { class: "soft" }, `Not known: ${said.write_side}`)),
      said.slow ? card("Slow questions", said.slow.length
        ? sortable([["question", "question"], ["seconds", "seconds"], ["when", "when"]], said.slow.map((one) => ({ ...one, when: timeText(Date.parse(one.when) / 1000, zone) })), "Slow questions", { numeric: ["seconds"], texts: ["question"] })
        : h("p", { class: "soft" }, "None since this process began.")) : null),
  ];
}

const card = (title, ...children) => h("section", { class: "card" }, h("h2", {}, title), children);
const level = (name) => h("span", { class: `level ${name}` }, WORDS[name]);

const facts = (rows) => h("table", {}, h("caption", { class: "unseen" }, "Limits and usage"),
  h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "what"), h("th", { scope: "col", class: "number" }, "in use"), h("th", { scope: "col", class: "number" }, "limit"))),
  h("tbody", {}, rows.map((row) => h("tr", {}, h("td", {}, row.what), h("td", { class: "number" }, amount(row.used, row.unit)), h("td", { class: "number" }, row.limit ? amount(row.limit, row.unit) : "")))));

function amount(number, unit) {
  if (number === null || number === undefined) return "";
  return unit === "bytes" ? bytes(number) : unit === "seconds" ? duration(number) : count(number);
}

const checks = (rows) => card("Checks", h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Checks" },
  h("table", { class: "checks" }, h("caption", { class: "unseen" }, "Checks"),
    h("thead", {}, h("tr", {}, ["level", "check", "what was found, and what helps"].map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, h("td", {}, level(row.level)), h("th", { scope: "row" }, row.check),
      h("td", { class: "text" }, row.what, row.todo ? h("code", {}, row.todo) : null)))))));
