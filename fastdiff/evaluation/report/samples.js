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
