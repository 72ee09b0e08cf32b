"use strict";
// Charts as SVG: lines, points and bars with axes, and what is under the pointer or
// chosen with the arrow keys in words.

const FRAME = { left: 58, right: 12, top: 10, bottom: 40 };

function svg(tag, attributes = {}, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function painted(element, color, property = "stroke") {
  element.style[property] = `var(${color})`;
  return element;
}

// The ticks of an axis: 1, 2 or 5 times a power of ten apart; on a log axis the powers
// themselves, and what lies between if they are few.
function ticksOf(low, high, log, most) {
  if (log) {
    const ticks = [];
    const decades = Math.log10(high / low);
    const steps = decades > 2.5 ? [1] : decades > 1 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
    const stride = Math.max(1, Math.ceil(decades / most));
    for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k += stride) {
      for (const step of steps) {
        const tick = Number((step * 10 ** k).toPrecision(12));
        if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
      }
    }
    const every = Math.max(1, Math.ceil(ticks.length / (1.5 * most)));
    return ticks.filter((_, k) => k % every === 0);
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

function brief(value) {
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-4)) return value.toExponential().replace("e+", "e");
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
  return String(Number(value.toPrecision(6)));
}

// A scale from values to pixels, over what is to be shown and a little more.
function scaleOf(values, from, to, { log = false, zero = false, tight = false } = {}) {
  const usable = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  let low = usable.reduce((a, b) => Math.min(a, b), Infinity);
  let high = usable.reduce((a, b) => Math.max(a, b), -Infinity);
  if (low > high) [low, high] = log ? [0.1, 1] : [0, 1];
  if (zero) low = Math.min(low, 0);
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - (Math.abs(low) / 10 || 1), high + (Math.abs(high) / 10 || 1)];
  if (log && !tight) [low, high] = [low / 1.05, high * 1.05];
  if (!log && !tight) [low, high] = [zero && low === 0 ? 0 : low - (high - low) / 20, high + (high - low) / 20];
  const place = log ? (v) => Math.log(v / low) / Math.log(high / low) : (v) => (v - low) / (high - low);
  return { low, high, log, at: (value) => from + (to - from) * place(value) };
}

function axes(root, x, y, width, height, xName, yName = "") {
  for (const tick of ticksOf(y.low, y.high, y.log, 6)) {
    root.append(svg("line", { class: "grid", x1: FRAME.left, x2: width - FRAME.right, y1: y.at(tick), y2: y.at(tick) }),
      svg("text", { x: FRAME.left - 6, y: y.at(tick) + 4, "text-anchor": "end" }, brief(tick)));
  }
  const bottom = height - FRAME.bottom;
  for (const tick of ticksOf(x.low, x.high, x.log, width > 400 ? 6 : 4)) {
    root.append(svg("line", { class: "axis", x1: x.at(tick), x2: x.at(tick), y1: bottom, y2: bottom + 4 }),
      svg("text", { x: x.at(tick), y: bottom + 17, "text-anchor": "middle" }, brief(tick)));
  }
  root.append(svg("line", { class: "axis", x1: FRAME.left, x2: width - FRAME.right, y1: bottom, y2: bottom }),
    svg("text", { x: (FRAME.left + width - FRAME.right) / 2, y: height - 5, "text-anchor": "middle" }, xName));
  if (yName) {
    const middle = (FRAME.top + bottom) / 2;
    root.append(svg("text", { x: 13, y: middle, transform: `rotate(-90 13 ${middle})`, "text-anchor": "middle" }, yName));
  }
}

function figureOf(title, root, readout, ...rest) {
  root.setAttribute("role", "img");
  root.setAttribute("aria-label", title);
  root.setAttribute("tabindex", "0");
  return make("figure", { className: "chart" }, make("figcaption", { text: title }), root, readout, ...rest);
}

// Calls `choose` with the number of what is under the pointer or chosen by keys.
function browse(root, count, nearest, choose) {
  let at = -1;
  const go = (k) => { at = k; choose(k); };
  const under = (event) => {
    const box = root.getBoundingClientRect();
    const scale = root.viewBox.baseVal.width / box.width;
    go(nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale));
  };
  root.addEventListener("pointermove", under);
  root.addEventListener("pointerdown", under);
  root.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: at + 1, ArrowLeft: at < 0 ? count - 1 : at - 1, PageDown: at + 10, PageUp: at - 10, Home: 0, End: count - 1 };
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey || !count) return;
    event.preventDefault();
    go(Math.min(Math.max(moves[event.key], 0), count - 1));
  });
}

function lineChart({ title, xName, series, marks = [], shades = [], logY = false, tall = false }) {
  const [width, height] = [window.innerWidth < 560 ? 340 : 480, tall ? 300 : 270];
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}` });
  const kept = series.map((each) => ({ ...each, points: each.points.filter(([, value]) => !logY || value > 0) }));
  const all = kept.flatMap(({ points }) => points);
  const x = scaleOf([...all.map(([value]) => value), ...marks.map((mark) => mark.x)], FRAME.left, width - FRAME.right, { tight: true });
  const y = scaleOf(all.map(([, value]) => value), height - FRAME.bottom, FRAME.top, { log: logY });
  axes(root, x, y, width, height, xName);
  for (const shade of shades) {
    root.append(svg("rect", { class: "shade", x: x.at(shade.from), y: FRAME.top, width: Math.max(0, x.at(shade.to) - x.at(shade.from)), height: height - FRAME.bottom - FRAME.top }));
  }
  for (const mark of marks) root.append(svg("line", { class: "mark", x1: x.at(mark.x), x2: x.at(mark.x), y1: FRAME.top, y2: height - FRAME.bottom }));
  for (const { points, color, dots, dotted } of kept) {
    const d = points.map(([a, b], k) => `${k ? "L" : "M"}${x.at(a).toFixed(1)} ${y.at(b).toFixed(1)}`).join("");
    root.append(painted(svg("path", { class: "curve", d, "stroke-dasharray": dotted ? "2 3" : "none" }), color));
    if (dots || points.length === 1) for (const [a, b] of points) root.append(painted(svg("circle", { cx: x.at(a), cy: y.at(b), r: 2.6 }), color, "fill"));
  }
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  const cursor = svg("g");
  root.append(cursor);
  const stops = [...new Set(all.map(([value]) => value))].sort((a, b) => a - b);
  browse(root, stops.length, (px) => closest(stops, (stop) => Math.abs(x.at(stop) - px)), (k) => {
    if (k < 0) return;
    const here = stops[k];
    const words = [`${xName} ${show(here, 5)}`];
    cursor.replaceChildren(svg("line", { class: "cursor", x1: x.at(here), x2: x.at(here), y1: FRAME.top, y2: height - FRAME.bottom }));
    for (const { name, points, color } of kept) {
      const point = points.find(([value]) => value === here);
      if (!point) continue;
      words.push(`${name} ${show(point[1])}`);
      cursor.append(painted(svg("circle", { cx: x.at(here), cy: y.at(point[1]), r: 4 }), color, "fill"));
    }
    readout.textContent = words.join(" · ");
  });
  const figure = figureOf(title, root, readout, legend(kept, marks, shades));
  if (tall) figure.classList.add("tall");
  return figure;
}

function closest(items, distance) {
  let [best, least] = [-1, Infinity];
  items.forEach((item, k) => {
    const far = distance(item);
    if (far < least) [best, least] = [k, far];
  });
  return best;
}

function legend(series, marks, shades) {
  const list = make("ul", { className: "legend" });
  const add = (name, color, kind, property = "borderTopColor") => {
    const line = make("i", { className: kind });
    line.style[property] = `var(${color})`;
    list.append(make("li", {}, line, name));
  };
  if (series.length > 1) for (const { name, color, dotted } of series) add(name, color, dotted ? "dotted" : "");
  for (const { name } of marks) add(name, "--muted", "dashed");
  for (const { name } of shades) add(name, "--val", "block", "background");
  return list.children.length ? list : null;
}

function scatterChart({ title, xName, yName, points }) {
  const [width, height] = [280, 260];
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}` });
  const x = scaleOf([0, 1], FRAME.left, width - FRAME.right);
  const y = scaleOf([0, 1], height - FRAME.bottom, FRAME.top);
  axes(root, x, y, width, height, xName, yName);
  root.append(svg("line", { class: "grid", x1: x.at(0), y1: y.at(1), x2: x.at(1), y2: y.at(0) }));
  for (const point of points) root.append(painted(svg("circle", { cx: x.at(point.x), cy: y.at(point.y), r: 3, opacity: 0.45 }), "--train", "fill"));
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  const cursor = painted(svg("circle", { r: 6, fill: "none", "stroke-width": 2, visibility: "hidden" }), "--val");
  root.append(cursor);
  browse(root, points.length, (px, py) => closest(points, (p) => (x.at(p.x) - px) ** 2 + (y.at(p.y) - py) ** 2), (k) => {
    const point = points[k];
    for (const [name, value] of [["cx", x.at(point.x)], ["cy", y.at(point.y)], ["visibility", "visible"]]) cursor.setAttribute(name, value);
    readout.textContent = `${point.name}: ${xName} ${Math.round(100 * point.x)} %, ${yName} ${Math.round(100 * point.y)} %`;
  });
  return figureOf(title, root, readout);
}

function histogram({ title, xName, values }) {
  const [width, height] = [280, 260];
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}` });
  const x = scaleOf(values, FRAME.left, width - FRAME.right, { log: true });
  const bins = Array.from({ length: Math.max(5, Math.min(24, Math.ceil(Math.sqrt(values.length)))) }, () => 0);
  const edge = (k) => x.low * (x.high / x.low) ** (k / bins.length);
  for (const value of values) {
    const k = Math.floor((bins.length * Math.log(value / x.low)) / Math.log(x.high / x.low));
    bins[Math.min(Math.max(k, 0), bins.length - 1)] += 1;
  }
  const y = scaleOf(bins, height - FRAME.bottom, FRAME.top, { zero: true });
  axes(root, x, y, width, height, xName, "units");
  bins.forEach((count, k) => {
    const left = x.at(edge(k));
    root.append(painted(svg("rect", { x: left + 0.5, width: Math.max(1, x.at(edge(k + 1)) - left - 1), y: y.at(count), height: y.at(0) - y.at(count) }), "--train", "fill"));
  });
  const readout = make("div", { className: "readout", "aria-live": "polite" });
  browse(root, bins.length, (px) => closest(bins.map((_, k) => k), (k) => Math.abs((x.at(edge(k)) + x.at(edge(k + 1))) / 2 - px)), (k) => {
    readout.textContent = `${show(edge(k), 3)} to ${show(edge(k + 1), 3)} symbols: ${bins[k]} of ${values.length} units`;
  });
  return figureOf(title, root, readout);
}
