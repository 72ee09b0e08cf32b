"""Plain advice from what was measured. Every sentence has a rule, and a threshold.

The rules, `RULES`, are rules of thumb, to be tried and not to be believed.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lstm_jax.report.inspection import Findings, LayerFindings
from lstm_jax.storage.files import Fields
from lstm_jax.training.history import (
    HistoryRow,
    best_validation,
    overfitting_began,
    validations,
)

RULES = {
    "cut off": "at the truncation length the gradient still has 10 % of what it has at "
    "lag 1: what lies farther back would teach something too",
    "too long": "the gradient is below 1 % of its largest from a quarter of the "
    "truncation length on: shorter steps would learn the same in less time",
    "jumps": "the training loss rose by 0.5 nats above its lowest so far: the usual "
    "cause is a learning rate that is too high",
    "clipped": "on most lines the mean gradient norm is above --clip-norm: the length "
    "of a step is decided by clipping, whatever the gradient says",
    "dead": "5 % of a layer's units never show anything: they cost time, and are often "
    "the remains of a learning rate that was too high at first",
    "stuck": "a tenth of a layer's units have an output gate that never opens a tenth: "
    "they are hidden from everything above",
    "forgetful": "nine tenths of a layer's units remember less than 2 symbols: a "
    "higher forget bias at the start lets gradients pass (Jozefowicz et al. 2015)",
    "overfitting": "from some validation after the best one on, the validation loss "
    "never came back to its best, while the training loss, measured in the same way, "
    "stayed below what it was then",
    "unfinished": "the last validation was the best, and the training loss measured "
    "with it is within 0.1 nats: there is no sign of overfitting yet",
}
# Where it can be seen: a section of the page, or a picture of `inspect`.
_PICTURES = {"cut off": "lags", "too long": "lags"}
_PICTURES |= dict.fromkeys(("dead", "stuck", "forgetful"), "gates")


@dataclasses.dataclass(frozen=True)
class Advice:
    """One sentence, and the name of its rule in `RULES`."""

    text: str
    rule: str

    def __str__(self) -> str:
        """The sentence."""
        return self.text

    def fields(self) -> Fields:
        """As the page shows it, with its rule and the picture that it rests on."""
        picture = _PICTURES.get(self.rule, "curves")
        return {"text": self.text, "rule": RULES[self.rule], "picture": picture}


def advise(
    findings: Findings, lines: Sequence[HistoryRow], *, length: int, clip_norm: float
) -> list[Advice]:
    """Say what stands out, in sentences; an empty list if nothing does.

    Args:
        findings: what was measured of the network.
        lines: the history of the run.
        length: symbols through which gradients flow.
        clip_norm: the largest gradient norm, 0 for any.
    """
    return [
        *_on_truncation(findings, length),
        *_on_jumps(lines),
        *_on_clipping(lines, clip_norm),
        *_on_layers(findings.layers),
        *_on_fit(lines),
    ]


def advise_on_history(lines: Sequence[HistoryRow], unit: str) -> list[Advice]:
    """Say what a history shows of any network, whatever it learned.

    Args:
        lines: the history of the run.
        unit: what its losses are counted in; some thresholds are in nats.
    """
    nats = unit.startswith("nats")
    fit = _on_fit(lines)
    return [
        *(_on_jumps(lines) if nats else []),
        *(each for each in fit if nats or each.rule == "overfitting"),
    ]


def _on_truncation(findings: Findings, length: int) -> list[Advice]:
    norms = findings.norms
    if length < len(norms) and norms[length] > 0.1 * norms[1]:
        left = norms[length] / norms[1]
        text = (
            f"Learning is cut off: {length} symbols back the gradient still has "
            f"{left:.0%} of its size at one symbol. Try a longer --length."
        )
        return [Advice(text, "cut off")]
    if findings.reach < length / 4:
        text = (
            f"The gradient reaches {findings.reach} symbols back. A --length shorter "
            f"than {length} may learn the same in less time."
        )
        return [Advice(text, "too long")]
    return []


def _on_jumps(lines: Sequence[HistoryRow]) -> list[Advice]:
    lowest = float("inf")
    for line in lines:
        jump = line.train_loss - lowest
        if jump > 0.5:
            text = (
                f"The training loss jumped by {jump:.1f} nats at step "
                f"{line.step:,}. Try a lower --learning-rate."
            )
            return [Advice(text, "jumps")]
        lowest = min(lowest, line.train_loss)
    return []


def _on_clipping(lines: Sequence[HistoryRow], clip_norm: float) -> list[Advice]:
    clipped = [line.gradient_norm > clip_norm for line in lines]
    if not clip_norm or not lines or np.mean(clipped) <= 0.5:
        return []
    text = (
        f"Most gradients are longer than --clip-norm {clip_norm:g}. Try a lower "
        "--learning-rate, or clip less."
    )
    return [Advice(text, "clipped")]


def _on_layers(layers: Sequence[LayerFindings]) -> list[Advice]:
    said = []
    for depth, layer in enumerate(layers, 1):
        if layer.dead >= 0.05 * layer.units:
            text = (
                f"Layer {depth}: {layer.dead} of {layer.units} units are dead. Try "
                "fewer units, or a lower --learning-rate."
            )
            said.append(Advice(text, "dead"))
        elif layer.hidden >= 0.1 * layer.units:
            text = (
                f"Layer {depth}: the output gates of {layer.hidden} of {layer.units} "
                "units never open. Try fewer units."
            )
            said.append(Advice(text, "stuck"))
        if layer.memory[2] < 2:
            text = (
                f"Layer {depth}: hardly a unit remembers 2 symbols. Try "
                "a higher bias of the gate that keeps (f, of a GRU z) at the start."
            )
            said.append(Advice(text, "forgetful"))
    return said


def _on_fit(lines: Sequence[HistoryRow]) -> list[Advice]:
    measured, best = validations(lines), best_validation(lines)
    began = overfitting_began(lines)
    if began:
        text = (
            f"Overfitting began at step {began.step:,}. Try --dropout, "
            "--weight-drop or a smaller network; --patience ends such a run."
        )
        return [Advice(text, "overfitting")]
    last = measured[-1] if measured else None
    if not last or last is not best or not last.train_eval:
        return []
    gap = last.val["loss"] - last.train_eval["loss"]
    if gap > 0.1:
        return []
    text = (
        f"Still improving at the end, with training and validation loss {gap:.2f} nats "
        "apart. Train longer, or a larger network."
    )
    return [Advice(text, "unfinished")]
