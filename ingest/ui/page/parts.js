// What several views show: why there is nothing to see and what to do about it, tables.

import { count, fill, h } from "./dom.js";

const MOST_ROWS = 200;

/** What went wrong, and what helps. `error` is a `Refused`, `what` names what was asked for. */
export function problem(error, what) {
  const told = {
    key: error.status === 403
      ? ["This key may not read that", "A key with another scope may: promgres key create TENANT --scope read (or admin)."]
      : ["A key is needed", "Type one in with “Key” at the top. To make one: promgres key create default --scope read"],
    away: ["The database or the server is away", "Nothing is lost: what is sent meanwhile waits in the spool. This page asks again by itself."],
    busy: ["Too much is being asked at once", "It is asked again in a moment; or press Refresh."],
    slow: [`${what} took too long`, error.hint],
    limit: [`${what} is too large`, "Fewer series (a label, an aggregate), a shorter period or a longer step make it smaller."],
    missing: [`${what} cannot be had here`, "This server may be of an older version than its page: promgres migrate"],
    query: [`${what} is not understood`, error.hint],
  }[error.kind] ?? [`${what} failed`, error.hint];
  return h("div", { class: `notice ${error.kind === "busy" ? "warning" : "bad"}`, role: "alert", "data-kind": error.kind },
    h("strong", {}, told[0]), h("div", {}, error.message), told[1] ? h("div", { class: "soft" }, told[1]) : null);
}

/** First visit: nothing is stored yet. */
export function emptyDatabase() {
  const { protocol, hostname } = location;
  const write = `${protocol}//${hostname}:9273/api/v1/write`;
  return h("div", { class: "card welcome" },
    h("h2", {}, "Nothing is stored yet"),
    h("p", {}, "Have your Prometheus send what it scrapes. In prometheus.yml, then reload it:"),
    h("pre", { tabindex: "0" }, `remote_write:\n  - url: ${write}`),
    h("p", {}, "No Prometheus at hand? This sends made-up samples:"),
    h("pre", { tabindex: "0" }, "promgres load --rate 1000"),
    h("p", { class: "soft" }, "9273 is the usual port of the write side. What arrives shows up here by itself."));
}

/** A table whose columns sort; numbers as numbers. */
export function sortable(columns, rows, caption, { cell = (name, row) => row[name] ?? "", numeric = ["\0value"], texts = [] } = {}) {
  let by = null, descends = false, most = MOST_ROWS;
  const place = h("div", { class: "table", tabindex: "0", role: "region", "aria-label": caption });
  function draw() {
    const ordered = by === null ? rows : [...rows].sort((one, other) => (descends ? -1 : 1) * compared(one[by], other[by]));
    fill(place, h("table", {}, h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, columns.map(([name, title]) =>
        h("th", { scope: "col", class: numeric.includes(name) ? "number" : null, "aria-sort": by === name ? (descends ? "descending" : "ascending") : null },
          h("button", { type: "button", class: "sorter", onclick: () => { descends = by === name ? !descends : numeric.includes(name); by = name; draw(); } },
            title, h("span", { "aria-hidden": "true" }, by === name ? (descends ? " ▾" : " ▴") : "")))))),
      h("tbody", {}, ordered.slice(0, most).map((row) => h("tr", {}, columns.map(([name]) => h("td", { class: numeric.includes(name) ? "number" : texts.includes(name) ? "text" : null }, cell(name, row))))))),
    rows.length > most ? h("button", { type: "button", class: "quiet", onclick: () => { most = rows.length; draw(); } }, `Show all ${count(rows.length)} rows`) : null);
  }
  draw();
  return place;
}

function compared(one, other) {
  const [first, second] = [Number(one), Number(other)];
  if (one !== "" && other !== "" && !Number.isNaN(first) && !Number.isNaN(second)) return first - second;
  return String(one ?? "") < String(other ?? "") ? -1 : String(one ?? "") > String(other ?? "") ? 1 : 0;
}

