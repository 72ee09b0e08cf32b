"""Generate text with NumPy alone: an LSTM that lstm_jax has trained and exported.

    python generate.py --prompt "Once " --length 300 --temperature 0.8
    python generate.py --check      compares it with what the original computes

model.json has the symbols and sizes, weights.npz the arrays.
"""

import argparse
import json
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
    zeros = np.zeros(settings["hidden"], np.float32)
    return [(zeros, zeros) for _ in range(settings["layers"])]


def step(settings, weights, state, symbol):
    """Read one symbol: the next state, and the logits of what may follow it."""
    after, outputs = [], []
    x = weights["embedding"][symbol] if "embedding" in weights else None
    for layer, (h, c) in enumerate(state):
        for n in range(settings["rounds"]):  # a Mogrifier's: x and h scale each other
            q = weights[f"round{n}_{layer}"]
            if n % 2 == 0:
                x = 2 * sigmoid(h @ q) * x
            else:
                h = 2 * sigmoid(x @ q) * h
        w_x = weights[f"w_x{layer}"]
        z = w_x[symbol] if x is None else x @ w_x  # a table of the first layer
        z = z + h @ weights[f"w_h{layer}"] + weights[f"b{layer}"]
        i, f, g, o = np.split(z, 4)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        if settings["capped"]:
            i = np.minimum(i, 1 - f)
        c = f * c + i * g
        h = x = o * np.tanh(c)
        after.append((h, c))
        outputs.append(h)
    shown = np.concatenate(outputs)[-len(weights["w_out"]) :]
    return after, shown @ weights["w_out"] + weights["b_out"]


def sigmoid(x):
    """The logistic function."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def encode(settings, text):
    """The ids of a text; a character that the model has never seen is id 0."""
    if settings["kind"] == "byte":
        return list(text.encode("utf-8"))
    ids = {symbol: n for n, symbol in enumerate(settings["symbols"])}
    return [ids.get(character, 0) for character in text]


def decode(settings, ids):
    """The text of some ids."""
    if settings["kind"] == "byte":
        return bytes(ids).decode("utf-8", errors="replace")
    return "".join(settings["symbols"][n] for n in ids)


def generate(settings, weights, prompt, length, temperature=0.8, seed=0):
    """Continue a prompt by so many symbols; a temperature of 0 takes the likeliest."""
    rng = np.random.default_rng(seed)
    state = initial_state(settings)
    logits = np.zeros(len(weights["b_out"]), np.float32)
    for symbol in encode(settings, prompt):
        state, logits = step(settings, weights, state, symbol)
    made = []
    for _ in range(length):
        if settings["kind"] == "char":
            logits[0] = -np.inf  # whatever was never seen is never written
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
    settings, weights = load()
    if options.check:
        print(f"{check(settings, weights):.3e}")
        return
    words = (options.prompt, options.length, options.temperature, options.seed)
    sys.stdout.write(options.prompt + generate(settings, weights, *words) + "\n")


if __name__ == "__main__":
    main()
