"use strict";
// Confusion matrices: a row is a class, its colors are shares of that row; a cell that
// is chosen shows what was taken for what.

function confusionSection(matrices) {
  section("confusion", "Confusion", ...matrices.map(confusionMatrix));
}

function confusionMatrix({ title, names, totals, cells, examples, note }) {
  const count = names.length;
  const counts = new Map(cells.map(([row, column, n]) => [row * count + column, n]));
  const numbered = count <= 12;
  const size = numbered ? (count <= 5 ? 64 : 48) : Math.max(7, Math.min(22, Math.floor(640 / count)));
  const longest = Math.min(14, Math.max(...names.map((name) => [...name].length)));
  const margin = (size >= 9 ? 7.5 * longest : 0) + 34;
  const side = margin + size * count + 8;
  const root = svg("svg", { viewBox: `0 0 ${side} ${side}`, tabindex: "0", role: "img", "aria-label": `Confusion matrix: ${title}. Arrow keys choose a cell.` });
  root.style.flexBasis = `${Math.min(side, 704)}px`;
  root.append(svg("text", { x: margin + (size * count) / 2, y: 13, "text-anchor": "middle" }, "predicted"),
    svg("text", { x: 0, y: 0, "text-anchor": "middle", transform: `translate(13 ${margin + (size * count) / 2}) rotate(-90)` }, "true"));
  names.forEach((name, k) => {
    root.append(svg("rect", { class: "row", x: margin, y: margin + k * size, width: size * count, height: size - 1 }));
    if (size < 9) return;
    const short = [...name].slice(0, 14).join("");
    const middle = margin + (k + 0.5) * size + 4;
    const across = [...short].length === 1
      ? { x: margin + (k + 0.5) * size, y: margin - 5, "text-anchor": "middle" }
      : { transform: `translate(${middle} ${margin - 5}) rotate(-90)` };
    root.append(fitted(svg("text", { x: margin - 6, y: middle, "text-anchor": "end" }, short), size),
      fitted(svg("text", across, short), size));
  });
  for (const [row, column, n] of cells) {
    const share = n / totals[row];
    const place = { x: margin + column * size, y: margin + row * size };
    root.append(svg("rect", { class: "cell", ...place, width: size - 1, height: size - 1, opacity: Math.max(0.06, Math.sqrt(share)).toFixed(3) }));
    if (!numbered) continue;
    const number = svg("text", { x: place.x + size / 2, y: place.y + size / 2 + 4, "text-anchor": "middle" }, brief(n));
    if (share > 0.3) number.style.fill = "var(--card)";
    root.append(number);
  }
  const frame = svg("rect", { class: "chosen", width: size - 1, height: size - 1, visibility: "hidden" });
  root.append(frame);
  const aside = make("div", { "aria-live": "polite" });
  const choose = (row, column) => {
    for (const [name, value] of [["x", margin + column * size], ["y", margin + row * size], ["visibility", "visible"]]) frame.setAttribute(name, value);
    aside.replaceChildren(...cellDetails(names, row, column, counts.get(row * count + column) ?? 0, totals[row], examples));
  };
  browseCells(root, count, margin, size, choose);
  const mistakes = cells.filter(([row, column]) => row !== column).sort((a, b) => b[2] - a[2]).slice(0, 8);
  aside.append(...worst(names, mistakes, totals, choose));
  return make("div", {}, make("h3", { text: title }), make("p", { className: "note", text: note }),
    make("div", { className: "matrix" }, root, aside));
}

function fitted(text, size) {
  if (size < 14) text.style.fontSize = `${Math.max(7, size - 2)}px`;
  return text;
}

function browseCells(root, count, margin, size, choose) {
  let [row, column] = [0, 0];
  const go = (r, c) => {
    [row, column] = [r, c].map((k) => Math.min(Math.max(k, 0), count - 1));
    choose(row, column);
  };
  root.addEventListener("click", (event) => {
    const box = root.getBoundingClientRect();
    const scale = root.viewBox.baseVal.width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale - margin, (event.clientY - box.top) * scale - margin];
    if (x >= 0 && y >= 0) go(Math.floor(y / size), Math.floor(x / size));
  });
  root.addEventListener("keydown", (event) => {
    const ways = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Enter: [0, 0] };
    if (!(event.key in ways) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    go(row + ways[event.key][0], column + ways[event.key][1]);
  });
}

function worst(names, mistakes, totals, choose) {
  if (!mistakes.length) return [make("p", { text: "No mistakes." })];
  const list = make("ul", { className: "units" });
  for (const [row, column, n] of mistakes) {
    const button = make("button", { type: "button", text: `${names[row]} taken for ${names[column]}: ${show(n)} (${percent(n / totals[row])})` });
    button.addEventListener("click", () => choose(row, column));
    list.append(make("li", {}, button));
  }
  return [make("h3", { text: "Most frequent mistakes" }), list];
}

function cellDetails(names, row, column, n, total, examples) {
  const share = total ? `, ${percent(n / total)} of ${show(total)}` : "";
  const heading = make("h3", { text: row === column ? `${names[row]}, recognized` : `${names[row]}, taken for ${names[column]}` });
  const some = examples.filter(([r, c]) => r === row && c === column);
  const list = make("ul", { className: "examples" });
  for (const [, , text] of some) list.append(make("li", { className: "mono", text }));
  const none = n && !some.length ? make("p", { className: "note", text: "No example was kept." }) : null;
  return [heading, make("p", { text: `${show(n)} times${share}` }), none, list].filter((child) => child);
}
