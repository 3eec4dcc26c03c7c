// A chart of many series with uPlot: gaps stay gaps, what is under the cursor is told exactly.

import { announce, count, counted, h, short, timeText } from "./dom.js";

const PALETTES = {
  light: ["#1f5fbf", "#b3470f", "#1d7a4a", "#7b3fc4", "#b01f6b", "#0b7285", "#7d5a00", "#5b6472", "#c22a2a", "#4c6b10"],
  dark: ["#6ea8ff", "#ff9a5c", "#5fd08f", "#b995ff", "#ff85bd", "#56c9db", "#e0b84c", "#a5afbd", "#ff8a80", "#a6cf5b"],
};
const MOST_WITH_POINTS = 50;
const MOST_IN_TOOLTIP = 8;
const MOST_IN_LEGEND = 60;
/** Above this what is under the cursor is not brought out by fading all others: they would be drawn anew at each move. */
const MOST_FADED = 100;
const EVENT_NEAR_PX = 6;

export const isDark = () =>
  (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

/** The colour of the n-th series: ten that were chosen, then evenly spread hues. */
function colourOf(number, dark) {
  const palette = PALETTES[dark ? "dark" : "light"];
  return palette[number] ?? `hsl(${Math.round(number * 137.508) % 360} 60% ${dark ? 68 : 38}%)`;
}

/** Labels as PromQL writes them. */
export function nameOf(labels) {
  const { __name__: name = "", ...rest } = labels;
  const pairs = Object.entries(rest).map(([label, value]) => `${label}=${JSON.stringify(value)}`);
  return name || pairs.length ? name + (pairs.length ? `{${pairs.join(", ")}}` : "") : "value";
}

/** The labels that all of these sets have alike. */
export function commonOf(sets) {
  const [first = {}, ...others] = sets;
  return Object.fromEntries(Object.entries(first).filter(([label, value]) => others.every((labels) => labels[label] === value)));
}

/**
 * Series on a grid: `{times, rows}` with times in seconds and of each row `{labels, name,
 * brief, values, texts}`: its name in full and what tells it from the others, numbers (null where
 * there is none) and what the server wrote for them.
 *
 * series: `{labels, points: [[seconds, text], …]}` each.
 */
export function gridOf(series, start, end, step) {
  const length = Math.floor((end - start) / step + 1e-9) + 1;
  const times = Array.from({ length }, (_, index) => start + index * step);
  const common = series.length > 1 ? commonOf(series.map((one) => one.labels)) : {};
  const rows = series.map(({ labels, points }) => {
    const own = Object.fromEntries(Object.entries(labels).filter(([label]) => !(label in common)));
    const values = new Array(length).fill(null), texts = new Array(length);
    for (const [seconds, text] of points) {
      const index = Math.round((seconds - start) / step);
      if (index < 0 || index >= length) continue;
      const number = text === "+Inf" || text === "Infinity" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
      values[index] = Number.isFinite(number) ? number : null;
      texts[index] = text;
    }
    return { labels, name: nameOf(labels), brief: nameOf(own), values, texts };
  });
  return { times, rows };
}

/**
 * A chart that can be drawn again and again.
 *
 * onzoom(from, to): seconds that were dragged over; onmove(direction): `out`, `in`, `left`, `right`,
 * by keys. zone: `UTC` or undefined.
 */
export class Chart {
  constructor({ title, onzoom, onmove, sync }) {
    Object.assign(this, { title, onzoom, onmove, sync, plot: null, events: [], isolated: new Set(), showsAll: false });
    this.tooltip = h("div", { class: "tooltip", hidden: true });
    this.canvas = h("div", { class: "plot", tabindex: "0", role: "group", onkeydown: (event) => this.#key(event) });
    this.legend = h("div", { class: "legend" });
    this.element = h("div", { class: "chart" }, this.canvas, this.legend, this.tooltip);
    this.resizing = new ResizeObserver(() => this.plot?.setSize(this.#size()));
    this.resizing.observe(this.canvas);
  }

  /** Show a grid, and events: `{seconds, name, attributes}` each. */
  show({ times, rows }, { zone, events = [], step }) {
    const names = rows.map((row) => row.name).join("\n");
    if (names !== this.names) this.isolated.clear();
    Object.assign(this, { names, times, rows, zone, events, step });
    this.draw();
    const period = `${timeText(times[0], zone)} to ${timeText(times.at(-1), zone)}`;
    this.canvas.setAttribute("aria-label",
      `Chart of ${this.title}: ${counted(rows.length, "series", "series")}, ${period}. Left and right read values, plus and minus zoom, shift with left and right moves in time.`);
  }

  /** Draw what is known, in the colours of the day. */
  draw() {
    if (!this.rows) return;
    const cursor = this.plot?.cursor.idx;
    this.plot?.destroy();
    const dark = isDark();
    this.colours = this.rows.map((_, number) => colourOf(number, dark));
    this.plot = new uPlot(this.#options(dark), [this.times, ...this.rows.map((row) => row.values)], this.canvas);
    this.tooltip.hidden = true;
    if (cursor !== undefined && cursor !== null) this.reading = cursor;
    this.#drawLegend();
  }

  destroy() {
    this.resizing.disconnect();
    this.plot?.destroy();
  }

  #size() {
    return { width: Math.max(200, this.canvas.clientWidth), height: this.canvas.clientWidth < 500 ? 220 : 300 };
  }

  #options(dark) {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--soft").trim(), line = style.getPropertyValue("--grid").trim();
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui, sans-serif" };
    const many = this.rows.length > MOST_FADED;
    const { zone } = this;
    const dateOf = (seconds) => (zone ? uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC") : new Date(seconds * 1e3));
    return {
      ...this.#size(),
      legend: { show: false },
      padding: [8, 12, 0, 0],
      tzDate: dateOf,
      scales: { x: { time: true }, y: { range: (_, low, high) => rangeOf(low, high) } },
      axes: [
        { ...axis, values: (_, ticks, __, ___, apart) => axisTimes(ticks.map(dateOf), apart) },
        { ...axis, size: 64, values: (_, ticks) => ticks.map(short) },
      ],
      series: [{}, ...this.rows.map((row, number) => ({
        label: row.name,
        stroke: this.colours[number],
        width: many ? 1 : 1.5,
        show: !this.isolated.size || this.isolated.has(row.name),
        points: this.rows.length > MOST_WITH_POINTS ? { show: false } : { size: 5, filter: lonely },
      }))],
      focus: { alpha: many ? 1 : 0.25 },
      cursor: {
        focus: { prox: many ? 12 : 24 },
        points: { one: true },
        drag: { x: true, y: false, setScale: false, dist: 4 },
        sync: this.sync ? { key: this.sync, setSeries: false } : undefined,
      },
      hooks: {
        setSelect: [(plot) => {
          const { left, width } = plot.select;
          if (width < 4) return;
          const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          this.onzoom(from, to);
        }],
        setSeries: [(_, number) => { this.focused = number; this.#tell(); }],
        setCursor: [() => this.#tell()],
        draw: [(plot) => this.#drawEvents(plot, dark)],
      },
    };
  }

  /** Events are dashed lines with a foot. */
  #drawEvents(plot, dark) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = dark ? "#ffb454" : "#a34b00";
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    for (const { seconds } of this.events) {
      const x = plot.valToPos(seconds, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.beginPath();
      const size = 5 * devicePixelRatio;
      ctx.moveTo(x - size, bbox.top + bbox.height);
      ctx.lineTo(x + size, bbox.top + bbox.height);
      ctx.lineTo(x, bbox.top + bbox.height - 1.6 * size);
      ctx.fill();
    }
    ctx.restore();
  }

  /** What is under the cursor. */
  #tell() {
    const { plot, tooltip } = this;
    if (!plot) return;
    const { idx, left, top } = plot.cursor;
    if (idx === null || idx === undefined || left < 0) { tooltip.hidden = true; return; }
    const lines = this.#linesAt(idx);
    const near = this.events.filter(({ seconds }) => Math.abs(plot.valToPos(seconds, "x") - left) <= EVENT_NEAR_PX);
    tooltip.replaceChildren(
      h("div", { class: "tooltip-time" }, timeText(this.times[idx], this.zone)),
      ...lines.shown.map(({ number, text, isFocused }) => h("div", { class: isFocused ? "tooltip-line strong" : "tooltip-line" },
        this.#swatch(number), h("span", { class: "tooltip-name" }, this.rows[number].brief), h("span", { class: "tooltip-value" }, text))),
      lines.more ? h("div", { class: "soft" }, `and ${count(lines.more)} more`) : "",
      ...near.slice(0, 5).map((event) => h("div", { class: "tooltip-event" }, `◆ ${event.name} `, h("span", { class: "soft" }, event.text))));
    tooltip.hidden = !lines.shown.length && !near.length;
    const { clientWidth, clientHeight, offsetLeft, offsetTop } = plot.over;
    const beside = left > clientWidth / 2 ? left - 14 - tooltip.offsetWidth : left + 14;
    tooltip.style.left = `${offsetLeft + Math.max(0, Math.min(beside, clientWidth - tooltip.offsetWidth))}px`;
    tooltip.style.top = `${offsetTop + Math.max(0, Math.min(top, clientHeight - tooltip.offsetHeight))}px`;
  }

  /** The focused series first, then the largest values. */
  #linesAt(index) {
    const there = [];
    this.rows.forEach((row, number) => {
      if (row.texts[index] !== undefined && this.plot.series[number + 1].show) {
        there.push({ number, text: row.texts[index], value: row.values[index] ?? -Infinity, isFocused: this.focused === number + 1 });
      }
    });
    there.sort((one, other) => other.isFocused - one.isFocused || other.value - one.value);
    const most = there[0]?.isFocused && this.rows.length > MOST_IN_TOOLTIP ? 1 : MOST_IN_TOOLTIP;
    return { shown: there.slice(0, most), more: there.length - Math.min(there.length, most) };
  }

  #swatch(number) {
    const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = this.colours[number];
    return swatch;
  }

  #drawLegend() {
    const shown = this.showsAll ? this.rows : this.rows.slice(0, MOST_IN_LEGEND);
    const more = this.rows.length - shown.length;
    const place = [...this.legend.children].indexOf(document.activeElement);
    this.legend.replaceChildren(
      ...shown.map((row, number) => h("button", {
        type: "button", class: "legend-item", title: `${row.name}\nClick: only this one. Ctrl or shift and click: this one, too`,
        "aria-pressed": this.isolated.has(row.name) ? "true" : "false",
        onclick: (event) => this.#isolate(row.name, event.ctrlKey || event.metaKey || event.shiftKey),
      }, this.#swatch(number), h("span", {}, row.brief))),
      more > 0 ? h("button", { type: "button", class: "quiet", onclick: () => { this.showsAll = true; this.#drawLegend(); } }, `${count(more)} more`) : "",
      this.isolated.size ? h("button", { type: "button", class: "quiet", onclick: () => this.#isolate(null) }, "show all series") : "");
    this.legend.classList.toggle("is-isolating", this.isolated.size > 0);
    // Whoever was on a name stays there, however often what is shown is asked anew.
    if (place >= 0) (this.legend.children[place] ?? this.canvas).focus({ preventScroll: true });
  }

  #isolate(name, adds) {
    const only = this.isolated.has(name) && this.isolated.size === 1;
    if (!adds) this.isolated.clear();
    if (name !== null) {
      if (adds && this.isolated.has(name)) this.isolated.delete(name);
      else if (!only || adds) this.isolated.add(name);
    }
    const { plot } = this;
    plot.batch(() => this.rows.forEach((row, number) => {
      const show = !this.isolated.size || this.isolated.has(row.name);
      if (plot.series[number + 1].show !== show) plot.setSeries(number + 1, { show });
    }));
    this.#drawLegend();
    announce(this.isolated.size ? `Only ${[...this.isolated].join(", ")}` : "All series");
  }

  #key(event) {
    const moves = { "+": "in", "=": "in", "-": "out", Escape: "back" };
    if (event.shiftKey && event.key.startsWith("Arrow")) moves.ArrowLeft = "left", moves.ArrowRight = "right";
    if (moves[event.key]) this.onmove(moves[event.key]);
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") this.#read(event.key === "ArrowRight" ? 1 : -1);
    else return;
    event.preventDefault();
  }

  /** Move the cursor to the next time at which a series has a value, and say what is there. */
  #read(direction) {
    const last = this.times.length - 1;
    let index = this.reading ?? (direction > 0 ? -1 : last + 1);
    do index += direction;
    while (index > 0 && index < last && !this.#linesAt(index).shown.length);
    this.reading = index = Math.max(0, Math.min(last, index));
    const { shown, more } = this.#linesAt(index);
    const top = shown.length && shown[0].value > -Infinity ? this.plot.valToPos(shown[0].value, "y") : 10;
    this.plot.setCursor({ left: this.plot.valToPos(this.times[index], "x"), top });
    const said = shown.slice(0, 3).map(({ number, text }) => `${this.rows[number].brief} ${text}`).join("; ");
    announce(`${timeText(this.times[index], this.zone)}: ${said || "no value"}${more + shown.length > 3 ? `; ${more + shown.length - 3} more` : ""}`);
  }
}

/** Ticks of the time axis in 24 hours (uPlot's own are American), `apart` seconds from each other. */
function axisTimes(dates, apart) {
  const two = (number) => String(number).padStart(2, "0");
  let day = "";
  return dates.map((date) => {
    const today = `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    const isNew = today !== day;
    day = today;
    if (apart >= 86400) return `${date.getFullYear()}-${today}`;
    const clock = `${two(date.getHours())}:${two(date.getMinutes())}${apart < 60 ? `:${two(date.getSeconds())}` : ""}`;
    return isNew ? `${clock}\n${today}` : clock;
  });
}

/** From a little below to a little above; from zero where all is near it. */
function rangeOf(low, high) {
  if (low === null || high === null) return [0, 1];
  if (low === high) return low === 0 ? [-1, 1] : [Math.min(0, low * 1.2), Math.max(0, low * 1.2)];
  const room = (high - low) * 0.06;
  return [low >= 0 && low - room * 4 < 0 ? 0 : low - room, high <= 0 && high + room * 4 > 0 ? 0 : high + room];
}

/** Points that have no neighbour, which no line would show. */
function lonely(plot, number, show) {
  if (show) return null;
  const values = plot.data[number], found = [];
  for (let index = 0; index < values.length; index += 1) {
    if (values[index] !== null && (values[index - 1] ?? null) === null && (values[index + 1] ?? null) === null) found.push(index);
  }
  return found.length ? found : null;
}
