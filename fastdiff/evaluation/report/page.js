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

for (const teacher of [true, false]) {                 // teachers are grey and dashed, students in colour
  data.lines.filter((line) => line.teacher === teacher).forEach((line, i) => {
    line.shape = SHAPES[i % SHAPES.length];
    line.look = teacher ? `teacher dash-${Math.floor(i / SHAPES.length) % 3}` : `student hue-${i % 8}`;
  });
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
  levels.forEach(({ value, text }, i) => {             // the teacher, and real data at the other end
    const y = ys.place(value), under = better === "lower" && y + 18 < bottom;
    add("path", { class: "aim", d: `M${left} ${y}H${right}` });
    add("text", { x: i ? right - 6 : left + 6, y: under ? y + 14 : y - 5, class: `label halo${i ? " end" : ""}` }, text);
  });
  const marks = data.lines.flatMap((line, i) => {
    const own = points.filter((p) => p.line === i).sort((a, b) => a.x - b.x);
    const bars = own.filter((p) => p.error).map((p) => {
      const foot = Math.min(bottom, log && p.y <= p.error ? bottom : ys.place(p.y - p.error));
      return make("path", { class: "error", d: `M${xs.place(p.x)} ${foot}V${ys.place(p.y + p.error)}` });
    });
    add("g", { class: line.look }, make("path", { class: "line", d: path(own) }), ...bars);
    return own.map((p) => mark(svg, line, p, xs.place(p.x), ys.place(p.y)));
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
  const look = { class: `point ${line.look}`, transform: `translate(${x} ${y})` };
  const node = make("g", { ...look, tabindex: -1, role: "img", "aria-label": facts.join(", ") },
    make("circle", { class: "reach", r: 13 }), make("path", { class: "marker", d: line.shape }));
  const tip = svg.parentNode.querySelector(".tip");
  const show = () => {
    tip.replaceChildren(...facts.map((fact, i) => make(i ? "div" : "strong", {}, fact)));
    tip.hidden = false;
    tip.style.left = `${Math.max(0, Math.min(x - tip.offsetWidth / 2, svg.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${y < tip.offsetHeight + 14 ? y + 14 : y - tip.offsetHeight - 14}px`;
  };
  const hide = () => { tip.hidden = true; };
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

const plots = () => document.querySelectorAll(".plot svg").forEach(plot);

function legend() {
  find("legend").append(...data.lines.map((line, i) => {
    const button = make("button", { type: "button", "aria-pressed": "true" }, swatch(line), line.name);
    button.addEventListener("click", () => {
      const shown = state.hidden.delete(i) || !state.hidden.add(i);
      button.setAttribute("aria-pressed", shown);
      plots();
    });
    return button;
  }));
}

// ---- samples --------------------------------------------------------------------------------------------------------

const sheets = {};                                     // name -> {image, side of a tile, number of tiles}
let choose = () => {};                                 // changes the state and shows it

/** Returns one tile of a sheet as a canvas; small tiles are enlarged by whole pixels. */
function tile(name, noise, label, size) {
  const { image, side, tiles } = sheets[name];
  const canvas = make("canvas", { width: side, height: side, role: "img", "aria-label": label });
  const [column, row] = tiles === 1 ? [0, 0] : [noise % 16, Math.floor(noise / 16)];
  canvas.getContext("2d").drawImage(image, side * column, side * row, side, side, 0, 0, side, side);
  canvas.classList.toggle("pixels", side < 48);
  canvas.style.width = `${side < 48 ? side * Math.max(1, Math.round(size / side)) : size}px`;
  return canvas;
}

/** Loads the sheets, then connects the slider, the noises, the cards and the matrix. */
async function viewer() {
  await Promise.all(Object.entries(data.sheets).map(async ([name, source]) => {
    const image = Object.assign(new Image(), { src: source });
    await image.decode();
    const square = image.width === image.height;       // a scatter plot; a sheet has sixteen columns
    const side = square ? image.width : image.width / 16;
    sheets[name] = { image, side, tiles: square ? 1 : 16 * Math.max(1, Math.round(image.height / side)) };
  }));
  const shown = data.points.filter((p) => sheets[p.cell]), students = shown.filter((p) => !data.lines[p.line].teacher);
  const all = [...new Set(shown.map((p) => p.steps))].sort((a, b) => a - b);
  const count = Math.min(...Object.values(sheets).map((sheet) => sheet.tiles), ...shown.map((p) => p.n));
  const at = (line, steps) => shown.find((p) => p.line === line && p.steps === steps);
  const about = (p) => `${data.lines[p.line].name}, ${plural(p.steps)}${count > 1 ? `, noise ${state.noise}` : ""}`;

  function cards() {
    const size = count > 1 ? 128 : 150;
    const card = (look, picture, title, words) => make("figure", { class: look }, picture || make("div", { class: "blank" }),
      make("figcaption", {}, make("strong", {}, ...title), make("span", { class: "figure" }, words)));
    const made = data.lines.map((line, i) => {
      const point = at(i, state.steps), title = [swatch(line), line.name], { name } = state.metric;
      if (!point) return card("absent", null, title, `not at ${plural(state.steps)}`);
      const look = point.bests.includes(name) ? "leads" : "follows";
      const words = point.figures[name] + " ≈".repeat(point.equals.includes(name));
      return card(look, tile(point.cell, state.noise, about(point), size), title, words);
    });
    const real = sheets.real && card("real", tile("real", state.noise, "real data", size), ["real data"], state.metric.real);
    find("cards").style.setProperty("--size", `${size}px`);
    find("cards").replaceChildren(...(real ? [real] : []), ...made);
  }

  function matrix() {
    const now = (steps) => ({ class: steps === state.steps ? "now" : "" });
    const heads = all.map((steps) => make("th", { scope: "col", ...now(steps) }, String(steps)));
    const rows = data.lines.map((line, i) => make("tr", {}, make("th", { scope: "row" }, swatch(line), line.name),
      ...all.map((steps) => {
        const point = at(i, steps), cell = make("td", now(steps));
        if (point) cell.append(tile(point.cell, state.noise, about(point), count > 1 ? 48 : 88));
        if (point) cell.addEventListener("click", () => choose({ line: i, steps }));
        return cell;
      })));
    find("matrix").tHead.replaceChildren(make("tr", {}, make("th", { scope: "col" }, "Line"), ...heads));
    find("matrix").tBodies[0].replaceChildren(...rows);
  }

  function noises() {                                  // radio buttons under the tiles of a line, at its nearest step count
    const distance = (p) => Math.abs(Math.log(p.steps / state.steps));
    const point = shown.filter((p) => p.line === state.line).reduce((a, b) => (distance(b) < distance(a) ? b : a));
    find("seen").textContent = plural(point.steps);
    find("noises").replaceChildren(...Array.from({ length: count }, (_, i) => {
      const radio = make("input", { type: "radio", name: "noise", value: i, "aria-label": `noise ${i}` });
      radio.checked = i === state.noise;
      radio.addEventListener("change", () => choose({ noise: i }));
      return make("label", { title: `noise ${i}` }, radio, tile(point.cell, i, "", 40));
    }));
  }

  choose = (change) => {
    Object.assign(state, change);
    find("steps").value = all.indexOf(state.steps);
    find("steps").setAttribute("aria-valuetext", plural(state.steps));
    find("chosen").textContent = plural(state.steps);
    find("line").value = state.line;
    cards();
    matrix();
    if ("steps" in change || "line" in change) noises();
  };
  find("steps").max = all.length - 1;
  find("steps").addEventListener("input", (event) => choose({ steps: all[event.target.value] }));
  const lines = [...new Set(shown.map((p) => p.line))];
  find("line").append(...lines.map((i) => make("option", { value: i }, data.lines[i].name)));
  find("line").addEventListener("change", (event) => choose({ line: Number(event.target.value) }));
  find("noise").hidden = count === 1;
  const { line, steps } = (students.length ? students : shown).reduce((a, b) => (b.steps < a.steps ? b : a));
  choose({ line, steps });
}

// ---- tables ---------------------------------------------------------------------------------------------------------

/** Sorts a table by the clicked heading: ascending, descending, then the original order; missing values stay last. */
function sortable(table) {
  const body = table.tBodies[0], order = [...body.rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const now = { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] || "ascending";
    heads.forEach((other) => other.setAttribute("aria-sort", other === head ? now : "none"));
    const key = (row) => row.cells[column].dataset.value, sign = now === "descending" ? -1 : 1;
    const numbers = head.classList.contains("number"), words = new Intl.Collator("en", { numeric: true });
    const compare = numbers ? (a, b) => a - b : words.compare;
    const sorted = [...order].sort((a, b) => (key(a) === "") - (key(b) === "") || sign * compare(key(a), key(b)));
    body.append(...(now === "none" ? order : sorted));
  }));
}

document.querySelectorAll("table.sortable").forEach(sortable);
legend();
plots();
if (find("cards")) viewer();
find("metric").addEventListener("change", (event) => {
  state.metric = data.metrics.find(({ name }) => name === event.target.value);
  plots();
  choose({});
});
let breadth = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== breadth) plots();          // a phone's bars change the height as one scrolls
  breadth = window.innerWidth;
});
