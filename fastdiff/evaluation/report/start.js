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

// ---- trajectories ---------------------------------------------------------------------------------------------------

/** Shows the trajectory that the selector names. */
function films() {
  const show = () => [...find("films").querySelectorAll("figure")].forEach((figure, i) => {
    figure.hidden = i !== find("film").selectedIndex;
  });
  find("film").addEventListener("change", show);
  show();
}

// ---- start ----------------------------------------------------------------------------------------------------------

document.querySelectorAll("table.sortable").forEach(sortable);
looks();
legend();
plots();
if (find("cards")) viewer();
if (find("film")) films();
find("metric").addEventListener("change", (event) => {
  state.metric = data.metrics.find(({ name }) => name === event.target.value);
  looks();
  legend();
  plots();
  choose({});
});
let breadth = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== breadth) plots();          // a phone's bars change the height as one scrolls
  breadth = window.innerWidth;
});
