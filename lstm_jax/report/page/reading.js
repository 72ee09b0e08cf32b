"use strict";
// A text as the network reads it: what it expects next, how surprised it is, and what
// its units do, as colors of the text.

const KEYS = { ArrowRight: 1, ArrowLeft: -1, PageDown: 50, PageUp: -50, Home: -Infinity, End: Infinity };

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function readingSection(reading) {
  const panel = new ReadingPanel(reading);
  section("reading", "The text as the network reads it",
    make("p", { className: "note", text: `${reading.note} Hover or tap a symbol, or move with the arrow keys, to see what the network expects after it.` }),
    panel.controls, make("div", { className: "reading" }, panel.text, panel.aside),
    make("h3", { text: "Units that follow a pattern" }), ...panel.search);
  panel.paint();
}

class ReadingPanel {
  constructor(reading) {
    this.reading = reading;
    this.names = reading.ids.map((id) => reading.symbols[id]);
    this.chosen = { kind: "surprise" };
    this.cells = new Map();  // of a quantity of a layer, once they are asked for
    this.text = this.makeText();
    this.aside = make("div", { className: "aside", "aria-live": "polite" }, make("p", { className: "note", text: "No symbol is chosen yet." }));
    this.controls = this.makeControls();
    this.search = this.makeSearch();
  }

  makeText() {
    const box = make("div", { className: "text mono", tabindex: "0", role: "application", "aria-label": "Text; arrow keys choose a symbol" });
    this.spans = this.names.map((name, k) => {
      const span = make("span", { text: visible(name), className: name === "\n" ? "gap" : "" });
      span.dataset.at = k;
      box.append(span, ...(name.includes("\n") ? ["\n"] : []));
      return span;
    });
    let pointer = "";
    const under = (event) => {
      const place = `${event.clientX} ${event.clientY}`;
      // Text that scrolls under a pointer at rest, by keys for one, is not pointed at.
      if (event.target.dataset.at && (place !== pointer || event.type === "click")) this.look(Number(event.target.dataset.at));
      pointer = place;
    };
    for (const kind of ["pointerover", "pointermove", "click"]) box.addEventListener(kind, under);
    box.addEventListener("keydown", (event) => this.move(event));
    return box;
  }

  move(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const to = event.key === "ArrowDown" ? this.below(1) : event.key === "ArrowUp" ? this.below(-1)
      : event.key in KEYS ? (this.at ?? -1) + KEYS[event.key] : null;
    if (to === null) return;
    event.preventDefault();
    this.look(Math.min(Math.max(to, 0), this.spans.length - 1));
    this.spans[this.at].scrollIntoView({ block: "nearest" });
  }

  // The symbol that stands below or above the chosen one.
  below(way) {
    const here = this.spans[this.at ?? 0].getBoundingClientRect();
    let [best, least] = [this.at ?? 0, Infinity];
    for (let k = best + way; k >= 0 && k < this.spans.length; k += way) {
      const box = this.spans[k].getBoundingClientRect();
      const lines = Math.round(Math.abs(box.top - here.top) / here.height);
      if (lines > 1 && least < Infinity) break;
      const far = lines ? Math.abs(box.left - here.left) + 10000 * lines : Infinity;
      if (far < least) [best, least] = [k, far];
    }
    return best;
  }

  look(k) {
    this.spans[this.at]?.classList.remove("here");
    this.spans[k].classList.add("here");
    this.at = k;
    const { surprise, guesses, symbols, ids } = this.reading;
    const bits = surprise[k];
    const seen = bits === null ? "The first symbol: nothing was expected." : `Surprise ${bits.toFixed(2)} bits: it had a probability of ${percent(2 ** -bits)}.`;
    const list = make("ol", { className: "guesses" });
    for (let j = 0; j < guesses[k].length; j += 2) {
      const [id, chance] = [guesses[k][j], guesses[k][j + 1]];
      list.append(make("li", { className: id === ids[k + 1] ? "came" : "" },
        make("span", { className: "name mono", text: named(symbols[id]) }),
        make("meter", { min: 0, max: 1, value: chance }), make("span", { className: "number", text: percent(chance) })));
    }
    const came = k + 1 < ids.length ? [make("p", { className: "note", text: `It is followed by ${named(symbols[ids[k + 1]])}.` })] : [];
    const unit = this.values ? [make("p", { className: "note", text: `${this.label}: ${show(this.values[k], 2)}` })] : [];
    this.aside.replaceChildren(make("h3", { className: "mono", text: `${named(this.names[k])} – symbol ${show(k + 1)}` }),
      make("p", { text: seen }), ...unit, make("h3", { text: "Likeliest after it" }), list, ...came);
  }

  makeControls() {
    const { quantities } = this.reading;
    const what = make("select", {}, make("option", { value: "surprise", text: "surprise" }));
    quantities.forEach((each, k) => what.append(make("option", { value: k, text: `layer ${each.layer + 1}: ${each.label}` })));
    const unit = make("input", { type: "number", min: 0, value: 0, step: 1, disabled: true, className: "short" });
    const change = () => {
      unit.disabled = what.value === "surprise";
      if (unit.disabled) this.chosen = { kind: "surprise" };
      else {
        const { units } = quantities[what.value];
        unit.max = units.at(-1);
        const asked = Number(unit.value);
        const near = units.includes(asked) ? asked : units[closest(units, (each) => Math.abs(each - asked))];
        this.chosen = { quantity: Number(what.value), unit: near };
      }
      this.paint();
    };
    what.addEventListener("change", change);
    unit.addEventListener("change", () => { change(); unit.value = this.chosen.unit; });
    Object.assign(this, { what, unit });
    this.ramp = make("span", { className: "ramp" });
    return make("div", { className: "controls" }, make("label", { className: "field" }, "color by", what),
      make("label", { className: "field" }, "unit", unit), this.ramp);
  }

  choose(quantity, unit) {
    this.what.value = quantity;
    this.unit.value = unit;
    this.what.dispatchEvent(new Event("change"));
  }

  async cellsOf(k) {
    if (!this.cells.has(k)) this.cells.set(k, inflate(this.reading.quantities[k].cells));
    return this.cells.get(k);
  }

  async paint() {
    const chosen = this.chosen;
    if (chosen.kind === "surprise") {
      this.values = null;
      const strengths = this.reading.surprise.map((bits) => Math.min((bits ?? 0) / 8, 1));
      this.color(strengths, "surprise", ["0 bits", "8 or more"], false);
      return;
    }
    const quantity = this.reading.quantities[chosen.quantity];
    const cells = await this.cellsOf(chosen.quantity);
    if (chosen !== this.chosen) return;  // another was chosen meanwhile
    const count = this.names.length;
    const row = quantity.units.indexOf(chosen.unit) * count;
    const level = (cell) => quantity.low + ((quantity.high - quantity.low) * cell) / (this.reading.levels - 1);
    this.values = Array.from(cells.subarray(row, row + count), level);
    this.label = `layer ${quantity.layer + 1}, unit ${chosen.unit}, ${quantity.label}`;
    this.color(this.values, this.label, [show(quantity.low), show(quantity.high)], quantity.low < 0);
    if (this.at !== undefined) this.look(this.at);
  }

  color(values, label, [low, high], both) {
    const paint = (value) => `rgba(var(${value < 0 ? "--low" : "--high"}), ${(0.85 * Math.abs(value)).toFixed(3)})`;
    this.spans.forEach((span, k) => { span.style.backgroundColor = Math.abs(values[k]) < 0.02 ? "" : paint(values[k]); });
    const bar = make("i");
    const stops = both ? [-1, 0, 1] : [0, 1];
    bar.style.background = `linear-gradient(to right, ${stops.map(paint).join(", ")})`;
    bar.title = label;
    this.ramp.replaceChildren(low, bar, high);
  }

  makeSearch() {
    const found = make("div", { "aria-live": "polite" });
    const pattern = make("select", {}, make("option", { value: "", text: "choose a pattern" }));
    this.reading.patterns.forEach(({ name }, k) => pattern.append(make("option", { value: k, text: name })));
    pattern.addEventListener("change", () => {
      if (pattern.value === "") found.replaceChildren();
      else this.list(found, this.reading.patterns[pattern.value]);
    });
    const own = make("input", { type: "text", placeholder: "for example  \\d+  or  \\bthe\\b", size: 24, className: "mono", spellcheck: false });
    const form = make("form", { className: "controls" }, make("label", { className: "field" }, "pattern", pattern),
      make("label", { className: "field" }, "or a regular expression", own), make("button", { type: "submit", text: "Find units" }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.searchFor(own.value, found);
    });
    return [make("p", { className: "note", text: this.reading.search }), form, found];
  }

  list(found, { units, note }) {
    const list = make("ul", { className: "units" });
    for (const { quantity, unit, r, check } of units) {
      const { layer, label } = this.reading.quantities[quantity];
      const checked = check === undefined ? "" : ` (${check.toFixed(2)} on the other half)`;
      const button = make("button", { type: "button", "aria-pressed": "false", text: `layer ${layer + 1}, unit ${unit}, ${label}: r = ${r.toFixed(2)}${checked}` });
      button.addEventListener("click", () => {
        for (const each of list.querySelectorAll("button")) each.setAttribute("aria-pressed", String(each === button));
        this.choose(quantity, unit);
      });
      list.append(make("li", {}, button));
    }
    found.replaceChildren(make("p", { className: "note", text: note }), list);
  }

  async searchFor(source, found) {
    const say = (text) => found.replaceChildren(make("p", { className: "note", text }));
    let expression;
    try {
      expression = new RegExp(source, "gu");
    } catch (error) {
      return say(`No regular expression: ${error.message}`);
    }
    const inside = this.matched(expression);
    const count = inside.reduce((a, b) => a + b, 0);
    if (!source || count === 0 || count === inside.length) return say("Expected a pattern that some of the text matches and some does not.");
    const units = [];
    for (const [k, quantity] of this.reading.quantities.entries()) {
      if (!quantity.searched) continue;
      const cells = await this.cellsOf(k);
      quantity.units.forEach((unit, row) => {
        const r = correlation(inside, cells.subarray(row * inside.length, (row + 1) * inside.length));
        units.push({ quantity: k, unit, r });
      });
    }
    units.sort((a, b) => Math.abs(b.r) - Math.abs(a.r));
    const note = `${show(count)} of the ${show(inside.length)} symbols shown match. These are computed on them alone, so small ones are chance.`;
    return this.list(found, { units: units.slice(0, 8), note });
  }

  // 1 for every symbol that has a part in a match, else 0.
  matched(expression) {
    const starts = [];
    let whole = "";
    for (const name of this.names) { starts.push(whole.length); whole += name; }
    const inside = this.names.map(() => 0);
    let k = 0;
    for (const match of whole.matchAll(expression)) {
      const [from, to] = [match.index, match.index + match[0].length];
      while (k < starts.length && starts[k] + this.names[k].length <= from) k++;
      for (; k < starts.length && starts[k] < to; k++) inside[k] = 1;
    }
    return inside;
  }
}

function visible(name) {
  if (name === "\n") return "⏎";
  return /^[\p{C}\u200b-\u200f\u2028-\u202e]$/u.test(name) ? "\ufffd" : name;
}

function named(name) {
  if (name === " ") return "space";
  if (name === "\n") return "⏎ newline";
  if (name === "\t") return "tab";
  return /^[\p{C}\p{Z}]+$/u.test(name) ? [...name].map((c) => `U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`).join(" ") : name;
}

function percent(share) {
  return share >= 0.0995 ? `${Math.round(100 * share)} %` : `${Number((100 * share).toPrecision(2))} %`;
}

function correlation(a, b) {
  const count = a.length;
  let [sumA, sumB, aa, bb, ab] = [0, 0, 0, 0, 0];
  for (let k = 0; k < count; k++) {
    sumA += a[k]; sumB += b[k]; aa += a[k] * a[k]; bb += b[k] * b[k]; ab += a[k] * b[k];
  }
  const spread = Math.sqrt((aa - (sumA * sumA) / count) * (bb - (sumB * sumB) / count));
  return spread > 1e-9 ? (ab - (sumA * sumB) / count) / spread : 0;
}
