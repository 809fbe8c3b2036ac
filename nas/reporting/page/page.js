"use strict";
// Without this script the page shows all that there is; it adds values under the pointer, sorting, hiding, themes.

const SVG = "http" + "://www.w3.org/2000/svg";
const tooltip = document.getElementById("tooltip");

function place(scale, value) {
  const [low, high, start, end] = scale.ends;
  const map = scale.log ? Math.log : (number) => number;
  return start + ((end - start) * (map(value) - map(low))) / (map(high) - map(low));
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return size >= 1e6 || size < 1e-4 ? value.toExponential(3) : String(Number(value.toPrecision(5)));
}

function named(scale, value) {
  return scale.categories.length ? scale.categories[Math.round(value)] : shown(value);
}

function element(name, text, colour) {
  const made = document.createElement(name);
  if (colour !== undefined) {
    const dot = document.createElement("i");
    dot.style.background = `var(--s${colour})`;
    made.append(dot);
  }
  made.append(text);
  return made;
}

function row(name, value, colour) {
  const line = document.createElement("div");
  line.append(element("span", name, colour), element("span", value));
  return line;
}

function valueText(chart, series, at) {
  const flat = chart.y.categories.length > 0;
  const value = series.values ? series.values[at] : flat ? series.x[at] : series.y[at];
  const low = series.low && series.low[at];
  const high = series.high && series.high[at];
  const known = typeof low === "number" && typeof high === "number" && !series.values && high > low;
  return shown(value) + (known ? ` (${shown(low)} … ${shown(high)})` : "");
}

// Points of the visible series: where they are, in px of the drawing.
function pointsOf(figure, chart) {
  const points = [];
  chart.series.forEach((series, number) => {
    if (figure.hiddenSeries.has(number)) return;
    series.x.forEach((x, at) => {
      const y = series.y[at];
      if (x === null || y === null) return;
      points.push({ series, at, value: x, x: place(chart.x, x), y: place(chart.y, y) });
    });
  });
  return points;
}

function nearest(points, distance) {
  let best = null;
  let least = Infinity;
  for (const point of points) {
    const far = distance(point);
    // Of equals the last: what is drawn over the others.
    if (far <= least) [best, least] = [point, far];
  }
  return [best, least];
}

function pointed(chart, points, x, y) {
  if (chart.near === "point") {
    const [point, far] = nearest(points, (one) => Math.hypot(one.x - x, one.y - y));
    return point && far < 40 ? [point] : [];
  }
  const [closest] = nearest(points, (one) => Math.abs(one.x - x));
  if (!closest) return [];
  return chart.series
    .map((series) => nearest(points.filter((one) => one.series === series), (one) => Math.abs(one.x - closest.x)))
    .filter(([one, far]) => one && Math.abs(one.x - closest.x) < 6)
    .map(([one]) => one);
}

function describe(chart, found) {
  tooltip.replaceChildren();
  const { series, at, value } = found[0];
  if (chart.near === "x") {
    tooltip.append(element("b", `${chart.x.title}: ${named(chart.x, value)}`));
    for (const one of found) {
      tooltip.append(row(one.series.name || chart.y.title, valueText(chart, one.series, one.at), one.series.colour));
    }
    return;
  }
  const flat = chart.y.categories.length > 0;
  const heading = [flat ? named(chart.y, series.y[at]) : series.name, series.notes && series.notes[at]];
  const text = heading.filter(Boolean).join(", ");
  if (text) tooltip.append(element("b", text));
  if (flat) {
    tooltip.append(row(series.name || chart.x.title, valueText(chart, series, at), series.colour));
  } else {
    tooltip.append(row(chart.x.title, named(chart.x, value), series.colour));
    tooltip.append(row(chart.y.title, valueText(chart, series, at), series.colour));
  }
}

function showTooltip(event) {
  tooltip.hidden = false;
  const box = tooltip.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const left = Math.min(event.clientX + 16, width - box.width - 8);
  const beside = event.clientX + 16 + box.width > width - 8 && event.clientY - box.height - 16 > 0;
  const top = beside ? event.clientY - box.height - 16 : event.clientY + 16;
  tooltip.style.left = `${Math.max(8, left) + window.scrollX}px`;
  tooltip.style.top = `${top + window.scrollY}px`;
}

function mark(layer, chart, found) {
  layer.replaceChildren();
  if (chart.near === "x") {
    const line = document.createElementNS(SVG, "line");
    const [top, bottom] = chart.span;
    const ends = { x1: found[0].x, x2: found[0].x, y1: top, y2: bottom };
    for (const [key, value] of Object.entries(ends)) line.setAttribute(key, value);
    line.setAttribute("class", "crosshair");
    layer.append(line);
  }
  for (const point of found) {
    const dot = document.createElementNS(SVG, "circle");
    for (const [key, value] of Object.entries({ cx: point.x, cy: point.y, r: 4.5 })) dot.setAttribute(key, value);
    dot.setAttribute("class", "marker");
    dot.style.fill = `var(--s${point.series.colour})`;
    layer.append(dot);
  }
}

function enliven(figure) {
  const data = figure.querySelector("script");
  const svg = figure.querySelector(".drawing svg");
  const chart = JSON.parse(data.textContent);
  const layer = document.createElementNS(SVG, "g");
  const pressedOut = [...figure.querySelectorAll(".key[aria-pressed=false]")];
  figure.hiddenSeries = new Set(pressedOut.map((key) => Number(key.dataset.series)));
  svg.append(layer);
  let points = pointsOf(figure, chart);

  const leave = () => {
    tooltip.hidden = true;
    layer.replaceChildren();
  };
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const found = pointed(chart, points, at.x, at.y);
    if (!found.length) return leave();
    describe(chart, found);
    mark(layer, chart, found);
    return showTooltip(event);
  });
  svg.addEventListener("pointerleave", leave);

  for (const key of figure.querySelectorAll(".key")) {
    key.addEventListener("click", () => {
      const number = Number(key.dataset.series);
      const hide = key.getAttribute("aria-pressed") === "true";
      key.setAttribute("aria-pressed", String(!hide));
      figure.hiddenSeries[hide ? "add" : "delete"](number);
      for (const group of svg.querySelectorAll(`[data-series="${number}"]`)) group.classList.toggle("hidden", hide);
      points = pointsOf(figure, chart);
    });
  }
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

for (const figure of document.querySelectorAll("figure")) if (figure.querySelector("script")) enliven(figure);
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
