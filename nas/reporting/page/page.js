"use strict";
// Draws the figures; adds sorting of tables, hiding of series, themes. The colours of figures are those of the style.

async function draw(figure) {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const drawing = figure.querySelector(".drawing");
  const named = (row) => Object.fromEntries(COLUMNS.map((name, at) => [name, row[at]]));
  spec.data.values = spec.data.values.map((row) => (Array.isArray(row) ? named(row) : row));
  const width = Math.min(document.querySelector("nav").clientWidth - 32, 540); // also of figures that are folded away
  const sized = spec.width ? {} : { width, autosize: { type: "fit-x", contains: "padding" } };
  const options = { actions: false, ast: true, config: CONFIG, logLevel: 1, renderer: "svg", tooltip: { disableDefaultStyle: true } };
  const { view } = await vegaEmbed(drawing, { ...spec, ...sized }, options);
  for (const key of figure.querySelectorAll(".key")) {
    key.addEventListener("click", () => {
      key.setAttribute("aria-pressed", String(key.getAttribute("aria-pressed") === "false"));
      const hidden = [...figure.querySelectorAll(".key[aria-pressed=false]")].map((one) => Number(one.dataset.series));
      view.signal("hidden", hidden).runAsync();
    });
  }
}

// One after the other from the top, so that what is seen first is there first.
async function drawAll() {
  for (const figure of document.querySelectorAll("figure:has(.drawing)")) {
    await draw(figure);
    await new Promise((resume) => setTimeout(resume));
  }
  document.documentElement.dataset.drawn = "all";
}

function sort(table, title) {
  const titles = [...title.parentNode.children];
  const column = titles.indexOf(title);
  const numeric = title.classList.contains("number");
  const before = title.getAttribute("aria-sort");
  const down = before ? before === "ascending" : numeric; // the largest first, names from A
  for (const other of titles) other.removeAttribute("aria-sort");
  title.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (line) => line.children[column].dataset.value;
  const order = (first, second) => {
    const [a, b] = [key(first), key(second)];
    if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last
    const difference = numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
    return down ? -difference : difference;
  };
  const body = table.querySelector("tbody");
  body.append(...[...body.children].sort(order));
}

function remembered() {
  try {
    return localStorage.getItem("shufflenas-theme");
  } catch {
    return null; // a browser that keeps nothing for files
  }
}

function offerThemes(button) {
  const themes = ["auto", "light", "dark"];
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.dataset.choice = theme;
    button.textContent = `◐ ${theme}`;
    button.setAttribute("aria-label", `Colours of the page: ${theme}`);
  };
  button.hidden = false;
  apply(themes.includes(remembered()) ? remembered() : "auto");
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(button.dataset.choice) + 1) % themes.length];
    apply(next);
    try {
      localStorage.setItem("shufflenas-theme", next);
    } catch {
      // it is then asked for again
    }
  });
}

for (const table of document.querySelectorAll("table")) {
  for (const title of table.querySelectorAll("th")) {
    title.querySelector("button").addEventListener("click", () => sort(table, title));
  }
}
offerThemes(document.getElementById("theme"));

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const closed = target && (target.querySelector(":scope > details") || target.closest("details"));
  if (closed) closed.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.run:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});

// Where the reader was before a page that follows a run loaded itself; sections above that place may have come or grown.
async function findPlaceAgain(place) {
  for (const [id, open] of place.open) {
    const details = document.querySelector(`#${CSS.escape(id)} > details`);
    if (details) details.open = open;
  }
  let done = false;
  for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"]) addEventListener(kind, () => (done = true), { once: true });
  while (!done) {
    done = document.documentElement.dataset.drawn; // until then figures move what is below them
    const above = place.id && document.getElementById(place.id);
    const top = above ? scrollY + above.getBoundingClientRect().top - place.offset : place.y;
    scrollTo({ top, behavior: "instant" });
    await new Promise((resume) => setTimeout(resume, 30));
  }
  history.scrollRestoration = "auto";
}

const { place } = history.state || {};
if (place) {
  history.replaceState(null, "");
  findPlaceAgain(place);
}
drawAll();
