// The page: which view, in which state. All of that is in the URL, after `#`, where no server and no
// log sees it; keys are not.

import { Refused, forget, on, session, status, use } from "./api.js";
import { cardinality } from "./cardinality.js";
import { choice, fill, h } from "./dom.js";
import { explore } from "./explore.js";
import { health } from "./health.js";
import { metrics } from "./metrics.js";

const VIEWS = { metrics: ["Metrics", metrics], explore: ["Explore", explore], cardinality: ["Cardinality", cardinality], health: ["Health", health] };
const BLANK = {
  view: "metrics", range: "1h", to: "", step: "", q: [], exact: [], tab: "chart", events: false, refresh: "",
  search: "", top: "20", tz: "local", theme: "",
};
/** What is kept on the way to another view. */
const COMMON = ["range", "to", "tz", "theme", "events", "refresh", "tab"];
const AWAY_AGAIN_MS = 2000;

const main = document.getElementById("main");
const listeners = new Set();
let view = null, shownView = "";

const page = {
  state: { ...BLANK },
  zone: () => (page.state.tz === "utc" ? "UTC" : undefined),
  forget,
  /** Change the state, and with it the URL. */
  go(changes, { replace = false } = {}) {
    Object.assign(page.state, changes);
    const url = `#${written(page.state)}`;
    if (url !== location.hash) history[replace ? "replaceState" : "pushState"](null, "", url);
    listeners.forEach((call) => call());
    view?.refreshed?.();
  },
  /** Where such a state is. */
  link: (changes) => `#${written({ ...BLANK, ...Object.fromEntries(COMMON.map((name) => [name, page.state[name]])), ...changes })}`,
  onchange: (call) => listeners.add(call),
};

function written(state) {
  const pairs = [];
  for (const [name, blank] of Object.entries(BLANK)) {
    const value = state[name];
    if (name === "view") continue;
    if (Array.isArray(value)) value.forEach((one) => { if (one !== "") pairs.push([name, one]); });
    else if (value !== blank) pairs.push([name, value === true ? 1 : value]);
  }
  const query = new URLSearchParams(pairs);
  return `/${state.view}${pairs.length ? `?${query}` : ""}`;
}

function read(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const found = new URLSearchParams(query);
  const state = { ...BLANK, q: found.getAll("q"), exact: found.getAll("exact").map(Number), view: path in VIEWS ? path : BLANK.view };
  for (const [name, value] of found) {
    if (name in BLANK && !Array.isArray(BLANK[name]) && name !== "view") state[name] = BLANK[name] === false ? value === "1" : value;
  }
  return state;
}

/** Show what the URL says. */
function show() {
  page.state = read(location.hash);
  document.documentElement.dataset.theme = page.state.theme;
  view?.end();
  listeners.clear();
  page.onchange(drawBar);
  const [title, make] = VIEWS[page.state.view];
  view = make(page);
  fill(main, view.element);
  document.title = `${title} · Promgres`;
  drawBar();
  if (shownView && shownView !== page.state.view) main.focus({ preventScroll: true });
  shownView = page.state.view;
}

function drawBar() {
  fill(document.getElementById("views"), Object.entries(VIEWS).map(([name, [title]]) =>
    h("a", { href: page.link({ view: name }), "aria-current": name === page.state.view ? "page" : null }, title)));
  const { current } = session;
  fill(document.getElementById("settings"),
    choice("Time zone", [["local", "Local time"], ["utc", "UTC"]], page.state.tz, (tz) => { page.go({ tz }); view.redraw?.(); }),
    choice("Colours", [["", "Auto"], ["light", "Light"], ["dark", "Dark"]], page.state.theme, (theme) => {
      page.go({ theme });
      document.documentElement.dataset.theme = theme;
      view.redraw?.();
    }),
    session.credentials.length ? choice("Tenant", [["", "No key"], ...session.credentials.map((one, index) => [String(index), one.tenant])],
      current ? String(session.credentials.indexOf(current)) : "", (index) => use(index === "" ? null : session.credentials[Number(index)])) : null,
    h("button", { type: "button", id: "key", onclick: askKey }, "Key"));
}

/** Ask for a key or a token, and whose it is. */
function askKey() {
  const input = h("input", { type: "password", class: "wide", autocomplete: "off", name: "promgres-key", "aria-label": "API key or token", placeholder: "pmk_… or a token", required: true });
  const said = h("p", { class: "query-error", role: "alert" });
  const dialog = h("dialog", { "aria-labelledby": "key-title", onclose: () => dialog.remove() },
    h("h2", { id: "key-title" }, "API key or token"),
    h("form", {
      method: "dialog",
      onsubmit: async (event) => {
        event.preventDefault();
        const before = session.current;
        const added = { text: input.value.trim(), tenant: "", admin: false };
        session.current = added;
        try {
          const { tenant, admin } = await status();
          Object.assign(added, { tenant: session.credentials.some((one) => one.tenant === tenant) ? `${tenant} (${session.credentials.length + 1})` : tenant, admin });
          session.credentials.push(added);
          dialog.close();
          use(added);
        } catch (error) {
          session.current = before;
          if (!(error instanceof Refused)) throw error;
          fill(said, error.message);
          input.select();
        }
      },
    },
    input,
    h("p", { class: "soft" }, "Kept in this tab’s memory only: not in the URL, not in the browser’s storage; gone when you reload. Add several to switch between tenants."),
    said,
    h("div", { class: "row" }, h("button", { class: "primary" }, "Use it"),
      session.credentials.length ? h("button", { type: "button", onclick: () => { session.credentials = []; dialog.close(); use(null); } }, "Forget all keys") : null,
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"))));
  document.body.append(dialog);
  dialog.showModal();
  input.focus();
}

on("key", () => { drawBar(); show(); });

let awayTimer;
on("presence", (away) => {
  clearInterval(awayTimer);
  const banner = document.getElementById("banner");
  if (!away) { fill(banner); return; }
  fill(banner, h("p", { class: "notice bad" }, h("strong", {}, "The server or its database is away. "), "Asking again every few seconds; what is shown may be old."));
  awayTimer = setInterval(async () => {
    try {
      if (!(await status()).ready) return;
      forget();
      view.again?.();
    } catch (error) { if (!(error instanceof Refused)) throw error; }
  }, AWAY_AGAIN_MS);
});

document.getElementById("skip").addEventListener("click", () => main.focus());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.redraw?.());
window.addEventListener("popstate", show);
show();
