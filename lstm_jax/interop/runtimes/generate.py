"""Generate text with NumPy alone: a network that lstm_jax has trained and exported.

    python generate.py --prompt "Once " --length 300 --temperature 0.8
    python generate.py --check      compares it with what the original computes

model.json has the symbols and sizes, weights.npz the arrays.
"""

import argparse
import itertools
import json
import re
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


def load(folder=FOLDER):
    """Read the model: its settings and its arrays."""
    settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    with np.load(folder / "weights.npz") as file:
        return settings, {name: file[name] for name in file.files}


def initial_state(settings):
    """The state before anything was read: h and c of every layer."""
    h = np.zeros(settings["output"], np.float32)
    c = np.zeros(settings["hidden"], np.float32)
    return [(h, c) for _ in range(settings["layers"])]


def step(settings, weights, state, symbol):
    """Read one symbol: the next state, and the logits of what may follow it."""
    after = []
    x = weights["embedding"][symbol] if "embedding" in weights else None
    cell = gru if settings["cell"] == "gru" else lstm
    for layer, before in enumerate(state):
        own = {name: weights.get(f"{name}{layer}") for name in ARRAYS}
        own["rounds"] = [
            weights[f"round{n}_{layer}"] for n in range(settings["rounds"])
        ]
        if x is None:  # the first layer's w_x is a table, a row for each symbol
            own["w_x"] = own["w_x"][symbol]
        new = cell(settings, own, x, *before)
        h, c = (
            share * old + (1 - share) * new if share else new
            for share, old, new in zip(settings["zoneout"], before, new, strict=True)
        )
        x = h
        after.append((h, c))
    return after, score(weights, after)


ARRAYS = ("w_x", "w_h", "b", "p", "w_hr", "w_n", "b_hn")


def score(weights, state):
    """The logits of the next symbol: those of a softmax over the outputs, h."""
    w_out = weights["w_out"] if "w_out" in weights else weights["embedding"].T
    shown = np.concatenate([h for h, _ in state])[-len(w_out) :]
    return shown @ w_out + weights["b_out"]


def read(own, x):
    """What the input opens of each gate: x W_x + b."""
    return (own["w_x"] if x is None else x @ own["w_x"]) + own["b"]


def lstm(settings, own, x, h, c):
    """One step of an LSTM, of whatever variant: h and c after it."""
    for n, q in enumerate(own["rounds"]):  # a Mogrifier's: x and h scale each other
        if n % 2 == 0:
            x = 2 * sigmoid(h @ q) * x
        else:
            h = 2 * sigmoid(x @ q) * h
    blocks = 3 if settings["coupled"] else 4
    *gates, g, o = np.split(read(own, x) + h @ own["w_h"], blocks)
    peepholes = [np.float32(0)] * blocks
    if own["p"] is not None:
        peepholes = np.split(own["p"], blocks - 1)

    def inside(z):
        return bounded(z, settings["clip"])

    *opened, f = (
        sigmoid(inside(z + p * c)) for z, p in zip(gates, peepholes, strict=False)
    )
    i = opened[0] if opened else 1 - f
    if settings["capped"]:
        i = np.minimum(i, 1 - f)
    c = bounded(f * c + i * np.tanh(inside(g)), settings["cell_clip"])
    h = sigmoid(inside(o + peepholes[-1] * c)) * np.tanh(c)
    return (h if own["w_hr"] is None else h @ own["w_hr"]), c


def gru(settings, own, x, h, c):
    """One step of a GRU: h after it, and c, which it does not have."""
    x_r, x_z, x_n = np.split(read(own, x), 3)
    if settings["reset_after"]:
        h_r, h_z, h_n = np.split(h @ own["w_h"], 3)
        b_hn = 0 if own["b_hn"] is None else own["b_hn"]
        h_n = sigmoid(x_r + h_r) * (h_n + b_hn)
    else:
        h_r, h_z = np.split(h @ own["w_h"], 2)
        h_n = (sigmoid(x_r + h_r) * h) @ own["w_n"]
    z = sigmoid(x_z + h_z)
    return (1 - z) * np.tanh(x_n + h_n) + z * h, c


def sigmoid(x):
    """The logistic function."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def bounded(x, most):
    """Numbers of at most this size; of any for 0."""
    return np.clip(x, -most, most) if most else x


def encode(settings, text):
    """The ids of a text; what the model has never seen is id 0."""
    kind = settings["kind"]
    if kind == "byte":
        return list(text.encode("utf-8", "surrogatepass"))
    if kind == "ids":
        return [checked_id(settings, word) for word in text.split()]
    ids = {symbol: n for n, symbol in enumerate(settings["symbols"]) if n}
    pieces = text
    if kind != "char":
        words = word_pattern(settings).findall(text)
        pieces = [piece for word in words for piece in cut(kind, ids, word)]
    return [ids.get(piece, 0) for piece in pieces]


def checked_id(settings, word):
    """A number, if it is one of the ids."""
    if not (word.isascii() and word.isdecimal()) or int(word) >= settings["size"]:
        sys.exit(f"prompt: expected ids below {settings['size']}, found {word:.60}")
    return int(word)


def word_pattern(settings):
    """Words with the space before them, punctuation, white space."""
    letters, spaces = (
        "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in settings[name])
        for name in ("letters", "spaces")
    )
    letter, space, most = f"[{letters}]", f"[{spaces}]", settings["longest"]
    return re.compile(
        f" ?{letter}(?:{letter}|['’\\-](?={letter})){{0,{most - 1}}}"
        f"| ?[^{letters}{spaces}]{{1,{most}}}"
        f"|{space}{{1,{most}}}(?![^{spaces}])|{space}"
    )


def cut(kind, ids, word):
    """A word as symbols: itself, or its characters, merged as they were learned."""
    if word in ids:
        return [word]
    pieces = list(word)
    while kind == "bpe":
        pairs = [p for p in itertools.pairwise(pieces) if "".join(p) in ids]
        if not pairs:
            break
        pair = min(pairs, key=lambda pair: ids["".join(pair)])
        merged, k = [], 0
        while k < len(pieces):
            found = tuple(pieces[k : k + 2]) == pair
            merged.append("".join(pair) if found else pieces[k])
            k += 2 if found else 1
        pieces = merged
    return pieces


def decode(settings, ids):
    """The text of some ids."""
    if settings["kind"] == "byte":
        return bytes(ids).decode("utf-8", errors="replace")
    if settings["kind"] == "ids":
        return "".join(f"{n} " for n in ids)
    return "".join(settings["symbols"][n] for n in ids)


def generate(settings, weights, prompt, length, temperature=0.8, seed=0):
    """Continue a prompt by so many symbols; a temperature of 0 takes the likeliest."""
    rng = np.random.default_rng(seed)
    state = initial_state(settings)
    logits = score(weights, state)
    ids = encode(settings, prompt)
    if unknown := sum(n < settings["first"] for n in ids):
        note = f"note: {unknown} characters of the prompt are unknown to the model"
        print(note, file=sys.stderr)
    for symbol in ids:
        state, logits = step(settings, weights, state, symbol)
    made = []
    for _ in range(length):
        logits[: settings["first"]] = -np.inf  # what was never seen is never written
        if temperature:
            chances = np.exp((logits - logits.max()) / temperature)
            symbol = int(rng.choice(len(chances), p=chances / chances.sum()))
        else:
            symbol = int(logits.argmax())
        made.append(symbol)
        state, logits = step(settings, weights, state, symbol)
    return decode(settings, made)


def check(settings, weights):
    """The largest difference from the logits that the original has computed."""
    if encode(settings, settings["check_text"]) != settings["check_text_ids"]:
        sys.exit("a text is cut into other symbols than those of the original")
    state, worst = initial_state(settings), 0.0
    for symbol, expected in zip(
        weights["check_ids"], weights["check_logits"], strict=True
    ):
        state, logits = step(settings, weights, state, symbol)
        worst = max(worst, float(np.abs(logits - expected).max()))
    return worst


def main():
    """Parse, generate, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompt", default="")
    parser.add_argument("--length", type=int, default=300)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    for name in ("length", "temperature", "seed"):
        if not getattr(options, name) >= 0:
            parser.error(f"--{name}: expected 0 or more")
    settings, weights = load()
    if options.check:
        print(f"{check(settings, weights):.3e}")
        return
    words = (options.prompt, options.length, options.temperature, options.seed)
    begin = options.prompt + (" " if settings["kind"] == "ids" else "")
    text = begin + generate(settings, weights, *words) + "\n"
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    main()
