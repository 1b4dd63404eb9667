"use strict";
// Draws the plots and the samples of a report from the JSON in the page, and sorts its tables.

const find = (id) => document.getElementById(id);
const data = JSON.parse(find("data").textContent);
const state = { metric: data.metrics[0], hidden: new Set(), line: 0, steps: 1, noise: 0 };
const SVG = document.querySelector("svg").namespaceURI;
const DRAWN = new Set(["svg", "g", "path", "text", "circle"]);
const SHAPES = [                                       // about the origin, some ten units wide
  "M0-4.8A4.8 4.8 0 0 1 0 4.8A4.8 4.8 0 0 1 0-4.8Z", "M-4.2-4.2H4.2V4.2H-4.2Z", "M0-5.4L5.2 4H-5.2Z",
  "M0-5.8L5.4 0L0 5.8L-5.4 0Z", "M0 5.4L5.2-4H-5.2Z", "M-2-5H2V-2H5V2H2V5H-2V2H-5V-2H-2Z",
];

const MANY = 10;                                       // more lines than these: only some are in colour

for (const teacher of [true, false]) {
  data.lines.filter((line) => line.teacher === teacher).forEach((line, i) => {
    line.shape = SHAPES[i % SHAPES.length];
    line.order = i;
  });
}

/** Sets the look of each line: teachers dashed, students in colour; of many students, only those on a front. */
function looks() {
  const many = data.lines.length > MANY, leading = many ? leaders() : [];
  data.lines.forEach((line, i) => {
    const dash = `dash-${Math.floor(line.order / SHAPES.length) % 3}`;
    line.muted = many && !line.teacher && !leading.includes(i);
    if (line.teacher) line.look = `teacher ${dash}${many ? " aimed" : ""}`;
    else line.look = line.muted ? "student muted" : `student hue-${(many ? leading.indexOf(i) : line.order) % 8}`;
  });
}

/** Returns the students with a point on a front: against network evaluations, or against time. */
function leaders() {
  const { name } = state.metric;
  const fronts = ["nfe", "ms"].flatMap((cost) => front(data.points
    .map((p) => ({ ...p, x: p[cost], y: p.values[name] }))
    .filter((p) => p.x > 0 && p.y !== null && !data.lines[p.line].teacher)));
  return [...new Set(fronts.map((p) => p.line))].sort((a, b) => a - b);
}

function make(tag, attributes = {}, ...children) {
  const node = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const swatch = (line) => make("svg", { class: `swatch ${line.look}`, viewBox: "-12 -7 24 14", "aria-hidden": "true" },
  make("path", { class: "line", d: "M-12 0H12" }), make("path", { class: "marker", d: line.shape }));
const plural = (steps) => `${steps} step${steps === 1 ? "" : "s"}`;
const short = (value) => String(Number(value.toPrecision(4)));
const duration = (ms) => (ms >= 1000 ? `${short(ms / 1000)} s` : ms >= 1 ? `${short(ms)} ms` : `${short(ms * 1000)} µs`);

// ---- plots ----------------------------------------------------------------------------------------------------------

/** Maps values to pixels between two ends, with a margin for markers and a line of text. */
function axis(values, start, end, log) {
  const [warp, unwarp] = log ? [Math.log, Math.exp] : [(v) => v, (v) => v];
  let [low, high] = [Math.min(...values.map(warp)), Math.max(...values.map(warp))];
  const margin = Math.max(0.06, 24 / Math.abs(end - start)) * (high - low) || (log ? 0.5 : 0.1 * Math.abs(high) || 1);
  [low, high] = [low - margin, high + margin];
  const place = (v) => start + (end - start) * (warp(v) - low) / (high - low);
  return { place, low: unwarp(low), high: unwarp(high), log };
}

/** Returns round numbers on an axis, about as many as fit. */
function ticks({ low, high, log }, room) {
  if (log && high / low > 8) {
    const decades = [];
    for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) decades.push(k);
    for (const digits of [[1, 2, 5], [1, 3], [1]]) {
      const found = decades.flatMap((k) => digits.map((d) => Number(`${d}e${k}`))).filter((v) => low <= v && v <= high);
      const every = digits.length === 1 ? Math.ceil(found.length / room) : 1;
      if (found.length <= room * every) return found.filter((_, i) => i % every === 0);
    }
  }
  const least = (high - low) / room, unit = 10 ** Math.floor(Math.log10(least)), found = [];
  const step = [1, 2, 5, 10].map((k) => k * unit).find((s) => s >= least);
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(k * step);
  return found;
}

/** Returns the values that are at least a gap apart, from the left. */
function apart(values, place, gap) {
  return values.reduce((kept, v) => (kept.length && place(v) - place(kept.at(-1)) < gap ? kept : [...kept, v]), []);
}

/** Returns the Pareto front of points. */
function front(points) {
  const worse = state.metric.better === "lower" ? (a, b) => a.y >= b.y : (a, b) => a.y <= b.y;
  const sorted = [...points].sort((a, b) => a.x - b.x || (worse(a, b) ? 1 : -1));
  return sorted.reduce((kept, p) => (kept.length && worse(p, kept.at(-1)) ? kept : [...kept, p]), []);
}

function plot(svg) {
  const { cost } = svg.dataset, { name, better, levels } = state.metric;
  const width = svg.parentNode.clientWidth, height = Math.round(Math.max(300, Math.min(430, 0.7 * width)));
  const [left, right, top, bottom] = [58, width - 12, 14, height - 46];
  const add = (...of) => svg.append(make(...of));
  const points = data.points.map((p) => ({ ...p, x: p[cost], y: p.values[name], error: p.errors[name] || 0 }))
    .filter((p) => !state.hidden.has(p.line) && p.x > 0 && p.y !== null);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  if (!points.length) {
    add("text", { x: width / 2, y: height / 2, class: "label middle" }, `no ${name} to draw`);
    return;
  }

  const heights = [...points.map((p) => p.y), ...levels.map((level) => level.value)], log = better === "lower" && heights.every((v) => v > 0);
  const ends = points.flatMap((p) => [p.y - p.error, p.y + p.error]).filter((v) => !log || v > 0);
  const xs = axis(points.map((p) => p.x), left, right, true), ys = axis([...heights, ...ends], bottom, top, log);
  const evaluations = [...new Set(points.map((p) => p.x))].sort((a, b) => a - b);
  const [along, gap, form, below] = cost === "nfe" ? [evaluations, 30, short, "network evaluations per image (NFE)"]
    : [ticks(xs, (right - left) / 55), 48, duration, "time per image"];
  for (const v of apart(along, xs.place, gap)) {
    add("path", { class: "rule", d: `M${xs.place(v)} ${top}V${bottom}` });
    add("text", { x: xs.place(v), y: bottom + 17, class: "label middle" }, form(v));
  }
  for (const v of ticks(ys, (bottom - top) / 30)) {
    add("path", { class: "rule", d: `M${left} ${ys.place(v)}H${right}` });
    add("text", { x: left - 8, y: ys.place(v) + 4, class: "label end" }, short(v));
  }
  add("text", { x: (left + right) / 2, y: height - 8, class: "label middle" }, below);
  const aside = `translate(13 ${(top + bottom) / 2}) rotate(-90)`;
  add("text", { transform: aside, class: "label middle" }, `${name} (${better} is better)`);

  const path = (of) => of.map((p, i) => `${i ? "L" : "M"}${xs.place(p.x).toFixed(1)} ${ys.place(p.y).toFixed(1)}`).join("");
  add("path", { class: "front", d: path(front(points)) });
  levels.forEach(({ value }) => add("path", { class: "aim", d: `M${left} ${ys.place(value)}H${right}` }));
  const order = data.lines.map((_, i) => i).sort((a, b) => data.lines[b].muted - data.lines[a].muted || a - b);
  const marks = order.flatMap((i) => {                 // what is grey lies below
    const line = data.lines[i];
    const own = points.filter((p) => p.line === i).sort((a, b) => a.x - b.x);
    const bars = own.filter((p) => p.error).map((p) => {
      const foot = Math.min(bottom, log && p.y <= p.error ? bottom : ys.place(p.y - p.error));
      return make("path", { class: "error", d: `M${xs.place(p.x)} ${foot}V${ys.place(p.y + p.error)}` });
    });
    add("g", { class: line.look, "data-line": i }, make("path", { class: "line", d: path(own) }), ...bars);
    return own.map((p) => mark(svg, line, p, xs.place(p.x), ys.place(p.y)));
  });
  levels.forEach(({ value, text }, i) => {             // the teacher, and real data at the other end
    const y = ys.place(value), close = i > 0 && Math.abs(y - ys.place(levels[0].value)) < 20;
    const under = better === "lower" && y + 18 < bottom && !close;
    add("text", { x: i ? right - 6 : left + 6, y: under ? y + 14 : y - 5, class: `label halo${i ? " end" : ""}` }, text);
  });
  svg.append(...marks);
  marks[0].setAttribute("tabindex", 0);
}

/** Returns a point with a tooltip for pointer and keyboard. One point per plot is a tab stop; arrow keys reach the others. */
function mark(svg, line, point, x, y) {
  const facts = [
    `${point.model} · ${point.sampler}`,
    plural(point.steps) + (point.nfe === null ? "" : ` · ${short(point.nfe)} NFE`),
    `${state.metric.name} ${point.figures[state.metric.name]}`,
    ...(point.ms === null ? [] : [`${duration(point.ms)} per image`]),
    `n = ${point.n} · seeds ${point.seeds}`,
  ];
  const look = { class: `point ${line.look}`, "data-line": point.line, transform: `translate(${x} ${y})` };
  const node = make("g", { ...look, tabindex: -1, role: "img", "aria-label": facts.join(", ") },
    make("circle", { class: "reach", r: 13 }), make("path", { class: "marker", d: line.shape }));
  const tip = svg.parentNode.querySelector(".tip");
  const show = () => {
    light(point.line, true);
    tip.replaceChildren(...facts.map((fact, i) => make(i ? "div" : "strong", {}, fact)));
    tip.hidden = false;
    tip.style.left = `${Math.max(0, Math.min(x - tip.offsetWidth / 2, svg.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${y < tip.offsetHeight + 14 ? y + 14 : y - tip.offsetHeight - 14}px`;
  };
  const hide = () => {
    light(point.line, false);
    tip.hidden = true;
  };
  for (const event of ["pointerenter", "focus"]) node.addEventListener(event, show);
  for (const event of ["pointerleave", "blur"]) node.addEventListener(event, hide);
  node.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    const kin = [...svg.querySelectorAll(".point")], next = kin.at((kin.indexOf(node) + step) % kin.length);
    node.setAttribute("tabindex", -1);
    next.setAttribute("tabindex", 0);
    next.focus();
  });
  return node;
}

/** Brings out a line in both plots, or lets it return to its look. */
function light(line, lit) {
  document.querySelectorAll(`.plot [data-line="${line}"]`).forEach((node) => node.classList.toggle("lit", lit));
}

const plots = () => document.querySelectorAll(".plot svg").forEach(plot);

/** Fills the legend: lines in colour first, then the grey ones. */
function legend() {
  const order = data.lines.map((_, i) => i).sort((a, b) => data.lines[a].muted - data.lines[b].muted || a - b);
  find("legend").replaceChildren(...order.map((i) => {
    const line = data.lines[i], shown = !state.hidden.has(i);
    const button = make("button", { type: "button", class: line.muted ? "rest" : "", "aria-pressed": shown }, swatch(line), line.name);
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", state.hidden.delete(i) || !state.hidden.add(i));
      plots();
    });
    for (const [event, lit] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]])
      button.addEventListener(event, () => light(i, lit));
    return button;
  }));
}
