"use strict";
// The page: its sections, from the data in the element "data". Text from the run only
// ever becomes the text of an element, never markup.

const DATA = JSON.parse(document.getElementById("data").textContent);

function make(tag, { text, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  if (text !== undefined) element.textContent = text;
  element.append(...children.filter((child) => child));
  return element;
}

function show(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  if (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6) return value.toExponential(digits - 2);
  return String(Number(value.toPrecision(digits)));
}

// What was chosen outlives a reload; a browser may forbid to keep it.
function remember(name, value) {
  try {
    sessionStorage.setItem(location.pathname + name, value);
  } catch { /* then it is forgotten */ }
}
function recall(name) {
  try {
    return sessionStorage.getItem(location.pathname + name);
  } catch {
    return null;
  }
}

function choice(label, name, options, change) {
  const kept = recall(name);
  const chosen = options.some(([value]) => value === kept) ? kept : options[0][0];
  const group = make("fieldset", { className: "choice" }, make("legend", { text: label }));
  for (const [value, text] of options) {
    const input = make("input", { type: "radio", name, value, checked: value === chosen });
    input.addEventListener("change", () => { remember(name, value); change(value); });
    group.append(make("label", {}, input, text));
  }
  return [group, chosen];
}

function section(id, heading, ...children) {
  document.getElementById("sections").append(make("a", { href: `#${id}`, text: heading }));
  document.getElementById("content").append(
    make("section", { id, "aria-labelledby": `${id}-heading` }, make("h2", { id: `${id}-heading`, text: heading }), ...children));
}

function summarySection() {
  const tiles = make("dl", { className: "tiles" });
  for (const [name, value] of DATA.key ?? []) {
    tiles.append(make("div", {}, make("dt", { text: name }), make("dd", { text: show(value) })));
  }
  const advice = make("ul", { className: "advice" });
  for (const { text, rule, picture } of DATA.advice ?? []) {
    const target = document.getElementById(picture) ? make("a", { href: `#${picture}`, text: "See the picture." }) : null;
    advice.append(make("li", {}, make("strong", { text }), make("p", { className: "note", text: `Rule: ${rule} ` }, target)));
  }
  if (DATA.advice && !DATA.advice.length) {
    advice.append(make("li", { className: "fine", text: "Nothing stands out." }));
  }
  const home = document.getElementById("summary");
  home.append(tiles);
  if (DATA.result?.length) home.append(facts(DATA.result));
  if (DATA.advice) home.append(make("h3", { text: "Advice" }), advice);
}

function facts(rows) {
  const list = make("dl", { className: "facts" });
  for (const [name, value] of rows) list.append(make("dt", { text: name }), make("dd", { text: show(value, 6) }));
  return list;
}

const AXES = [["step", "steps"], ["epoch", "epochs"], ["seconds", "seconds"]];
const PARTS = [
  ["train", "training, as it went", "--train-faint"],
  ["train_eval", "training, measured like validation", "--train"],
  ["val", "validation", "--val"],
];

function curvesSection() {
  const history = DATA.history;
  const charts = make("div", { className: "charts" });
  const settings = {};
  const shows = [["all", "whole run"], ["half", "second half"]];
  const draw = () => {
    charts.replaceChildren();
    for (const curve of history.curves) charts.append(historyChart(history, curve, settings));
  };
  const [axis, x] = choice("against", "axis", AXES, (value) => { settings.x = value; draw(); });
  const [scale, y] = choice("scale", "scale", [["linear", "linear"], ["log", "log"]], (value) => { settings.y = value; draw(); });
  const [range, part] = choice("range", "range", shows, (value) => { settings.part = value; draw(); });
  Object.assign(settings, { x, y, part });
  draw();
  const few = history.shown < history.of ? ` Shown are ${show(history.shown)} of ${show(history.of)} lines of the history.` : "";
  section("curves", "Curves", make("div", { className: "controls" }, axis, scale, range), charts,
    make("p", { className: "note", text: `Hover a chart, or focus it and use the arrow keys, to read its numbers.${few}` }));
}

function historyChart(history, curve, { x, y, part: range }) {
  const xs = history[x];
  const from = range === "half" ? xs[xs.length - 1] / 2 : -Infinity;
  const lone = Object.keys(curve.parts).length === 1;
  const series = [];
  for (const [part, name, color] of PARTS) {
    if (!curve.parts[part]) continue;
    const points = curve.parts[part].map((value, k) => [xs[k], value]).filter(([at, value]) => value !== null && at >= from);
    const first = part === "train";
    series.push({ name: lone ? curve.name : first && !curve.parts.val ? "training" : name,
      color: lone || (first && !curve.parts.val) ? "--train" : color, points, dots: !first && points.length < 60 });
  }
  const compared = "val" in curve.parts;
  const marks = compared && history.best !== null && xs[history.best] >= from ? [{ x: xs[history.best], name: `best: step ${show(history.step[history.best])}` }] : [];
  const shades = compared && history.overfitting !== null
    ? [{ from: Math.max(from, xs[history.overfitting]), to: xs[xs.length - 1], name: `overfitting, from step ${show(history.step[history.overfitting])}` }] : [];
  return lineChart({ title: curve.title, xName: x, series, marks, shades, logY: y === "log" });
}

function networkSection() {
  const network = DATA.network;
  const lags = network.lags.map(({ name, values, depth, dotted }) => ({
    name, color: `--s${1 + (depth % 6)}`, dotted, points: values.map((value, k) => [k, value]).filter(([, value]) => value),
  }));
  const holder = make("div");
  const draw = (scale) => holder.replaceChildren(lineChart({
    title: "Gradient of the loss, by lag", xName: "lag, symbols", series: lags, logY: scale === "log", tall: true,
    marks: [{ x: network.length, name: `cut off in training: ${network.length}` }],
  }));
  const [scale, chosen] = choice("scale", "lags", [["log", "log"], ["linear", "linear"]], draw);
  draw(chosen);
  const rows = make("tbody");
  for (const [name, ...values] of network.table) {
    rows.append(make("tr", {}, make("th", { scope: "row", text: name }), ...values.map((text) => make("td", { text }))));
  }
  const head = make("tr", {}, make("td"), ...network.layers.map((_, k) => make("th", { scope: "col", text: `layer ${k + 1}` })));
  section("network", "Network",
    make("div", { className: "scroll" }, make("table", {}, make("thead", {}, head), rows)),
    make("h3", { id: "lags", text: "How far back learning reaches" }),
    make("p", { className: "note", text: `The gradient of the loss of a symbol with respect to the states before it. It reaches ${network.reach} symbols back, to 1 % of its largest.` }),
    make("div", { className: "controls" }, scale), holder,
    make("h3", { id: "gates", text: "Gates and memory" }),
    make("p", { className: "note", text: "A point is a unit: the share of the text in which its gate is open (above 0.9), and closed (below 0.1). Points at an end of the diagonal never change." }),
    ...network.layers.map((layer, k) => gateCharts(layer, k + 1)));
}

function gateCharts(layer, depth) {
  const row = make("div", { className: "charts small" });
  for (const gate of layer.gates) {
    row.append(scatterChart({ title: `Layer ${depth}: ${gate.name} gate`, xName: "open", yName: "closed",
      points: gate.open.map((x, unit) => ({ x, y: gate.closed[unit], name: `unit ${unit}` })) }));
  }
  row.append(histogram({ title: `Layer ${depth}: memory`, xName: "time constant, symbols", values: layer.memory }));
  return row;
}

function picturesSection() {
  const list = make("div", { className: "pictures" });
  for (const { name, alt, width, height, source, left } of DATA.pictures) {
    const image = source
      ? make("div", { className: "frame", tabindex: "0", role: "group", "aria-label": name }, make("img", { src: source, alt: alt || name, width, height }))
      : make("p", { className: "note", text: left });
    const caption = make("figcaption", {}, make("span", { className: "mono", text: name }));
    list.append(make("figure", {}, caption, alt ? make("p", { className: "note", text: alt }) : null, image));
  }
  section("pictures", "Pictures", list);
}

function textsSection() {
  section("texts", "Output", ...DATA.texts.flatMap(({ name, text }) => [make("h3", { className: "mono", text: name }), make("pre", { text, tabindex: "0" })]));
}

function settingsSection() {
  const groups = DATA.facts.map(({ heading, rows, open }) => make("details", { open }, make("summary", { text: heading }), facts(rows)));
  const links = (DATA.parts ?? []).map((path) => make("li", {}, make("a", { href: path.split("/").map(encodeURIComponent).join("/"), text: path })));
  const parts = links.length ? [make("h3", { text: "Runs inside this one" }), make("ul", {}, ...links)] : [];
  section("settings", "What was run", ...groups, ...parts);
}

// While a run goes on the page is written again and again.
function keepUp(seconds) {
  const kept = Number(recall("scroll"));
  if (kept) window.scrollTo(0, kept);
  setTimeout(() => {
    remember("scroll", window.scrollY);
    location.reload();
  }, 1000 * seconds);
}

function main() {
  document.title = `${DATA.name} – run report`;
  document.getElementById("name").textContent = DATA.name;
  document.getElementById("about").textContent = DATA.about ?? "";
  const status = document.getElementById("status");
  status.textContent = DATA.status;
  status.className = `chip ${DATA.mood}`;
  section("summary", "Summary");
  if (DATA.history) curvesSection();
  if (DATA.reading) readingSection(DATA.reading);
  if (DATA.network) networkSection();
  if (DATA.confusion?.length) confusionSection(DATA.confusion);
  if (DATA.pictures?.length) picturesSection();
  if (DATA.texts?.length) textsSection();
  settingsSection();
  summarySection();  // last, for it points at the others
  if (DATA.reload) keepUp(DATA.reload);
}

main();
