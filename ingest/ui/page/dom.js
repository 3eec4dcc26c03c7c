// Elements, and numbers and times as people read them. Text only ever becomes text nodes: what a
// label holds is never read as HTML.

/** An element: `h("a", {href, class, onclick, "aria-label"}, "text", child, null, [more])`. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Have an element hold just this. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A select with a label that only screen readers see. */
export function choice(label, options, selected, onpick, attributes = {}) {
  const select = h("select", { "aria-label": label, title: label, ...attributes, onchange: () => onpick(select.value) },
    options.map(([value, text]) => h("option", { value, selected: value === selected }, text)));
  return select;
}

/** Say something to screen readers. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Show something once it is scrolled near; `load` is called at most once an element. */
export function whenSeen(load) {
  const observer = new IntersectionObserver((entries) => {
    const seen = entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target);
    for (const target of seen) observer.unobserve(target);
    if (seen.length) load(seen);
  }, { rootMargin: "200px" });
  return observer;
}

export function debounced(milliseconds, call) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...given), milliseconds);
  };
}

const WHOLE = new Intl.NumberFormat("en");

/** `1,234,567`. */
export const count = (number) => WHOLE.format(number);

/** `1 series`, `2 metrics`. */
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A number on an axis: four digits and a letter for its size. */
export function short(number) {
  if (number === null || !Number.isFinite(number)) return String(number);
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-3 || size >= 1e18)) return number.toExponential(2).replace("e+", "e");
  const units = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const [by, unit] = units.find(([least]) => size >= least) ?? [1, ""];
  return `${Number((number / by).toPrecision(4))}${unit}`;
}

/** Bytes: `512 B`, `1.5 GiB`. */
export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let amount = Number(number), unit = 0;
  while (Math.abs(amount) >= 1024 && unit < units.length - 1) { amount /= 1024; unit += 1; }
  return `${unit === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86400, w: 604800, y: 31536000 };

/** Seconds of `90`, `5m`, `1h30m`; NaN for anything else. */
export function secondsOf(text) {
  const trimmed = String(text ?? "").trim();
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed);
  if (!/^(\d+(\.\d+)?[smhdwy])+$/.test(trimmed)) return NaN;
  return [...trimmed.matchAll(/(\d+(?:\.\d+)?)([smhdwy])/g)]
    .reduce((sum, [, number, unit]) => sum + Number(number) * SECONDS[unit], 0);
}

/** `90` seconds as `1m30s`, the way PromQL has it. */
export function duration(seconds) {
  let rest = Math.round(seconds), text = "";
  for (const unit of ["y", "w", "d", "h", "m", "s"]) {
    const whole = Math.floor(rest / SECONDS[unit]);
    if (!whole || (text && unit === "w")) continue;
    text += `${whole}${unit}`;
    rest -= whole * SECONDS[unit];
  }
  return text || "0s";
}

const clocks = new Map();

/** A time for people: `2026-01-31 12:00:00`, in the zone (`UTC`, or undefined for this machine's). */
export function timeText(seconds, zone) {
  const key = zone ?? "";
  if (!clocks.has(key)) {
    clocks.set(key, new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "medium" }));
  }
  const text = clocks.get(key).format(new Date(seconds * 1000));
  const milliseconds = Math.round((seconds % 1) * 1000);
  return milliseconds ? `${text}.${String(milliseconds).padStart(3, "0")}` : text;
}

/** How long ago: `now`, `5m ago`. */
export function ago(seconds) {
  if (seconds < 60) return "now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)}h ago`;
  return `${Math.floor(seconds / 86400)}d ago`;
}

/** Copy a text; says whether that worked. Without a secure context browsers have no clipboard. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    announce(`${what} copied`);
    return true;
  } catch {
    return false;
  }
}
