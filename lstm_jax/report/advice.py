"""Plain advice from what was measured. Every sentence has a rule, and a threshold.

The rules are rules of thumb, to be tried and not to be believed:

    cut off      at the truncation length the gradient still has 10 % of what it has at
                 lag 1: what lies farther back would teach something too
    too long     it is below 1 % of its largest from a quarter of that length on:
                 shorter steps would learn the same in less time
    jumps        the training loss rose by 0.5 nats above its lowest so far: the usual
                 cause is a learning rate that is too high
    clipped      on most lines the mean gradient norm is above --clip-norm: the length
                 of a step is decided by clipping, whatever the gradient says
    dead         5 % of a layer's units never show anything: they cost time, and are
                 often the remains of a learning rate that was too high at first
    stuck        a tenth of a layer's units have an output gate that never opens a
                 tenth: they are hidden from everything above
    forgetful    nine tenths of a layer's units remember less than 2 symbols: a higher
                 forget bias at the start lets gradients pass (Jozefowicz et al. 2015)
    overfitting  as `history.overfitting_began` has it
    unfinished   the last validation was the best, and the training loss measured with
                 it is within 0.1 nats: there is no sign of overfitting yet
"""

from collections.abc import Sequence

import numpy as np

from lstm_jax.report.inspection import Findings, LayerFindings
from lstm_jax.training.history import (
    HistoryRow,
    best_validation,
    overfitting_began,
    validations,
)


def advise(
    findings: Findings, lines: Sequence[HistoryRow], *, length: int, clip_norm: float
) -> list[str]:
    """Say what stands out, in sentences; an empty list if nothing does.

    Args:
        findings: what was measured of the network.
        lines: the history of the run.
        length: symbols through which gradients flow.
        clip_norm: the largest gradient norm, 0 for any.
    """
    return [
        *_on_truncation(findings, length),
        *_on_steps(lines, clip_norm),
        *_on_layers(findings.layers),
        *_on_fit(lines),
    ]


def _on_truncation(findings: Findings, length: int) -> list[str]:
    norms = findings.norms
    if length < len(norms) and norms[length] > 0.1 * norms[1]:
        left = norms[length] / norms[1]
        return [
            f"Learning is cut off: {length} symbols back the gradient still has "
            f"{left:.0%} of its size at one symbol. Try a longer --length."
        ]
    if findings.reach < length / 4:
        return [
            f"The gradient reaches {findings.reach} symbols back. A --length shorter "
            f"than {length} may learn the same in less time."
        ]
    return []


def _on_steps(lines: Sequence[HistoryRow], clip_norm: float) -> list[str]:
    said = []
    lowest = float("inf")
    for line in lines:
        jump = line.train_loss - lowest
        if jump > 0.5:
            said.append(
                f"The training loss jumped by {jump:.1f} nats at step "
                f"{line.step:,}. Try a lower --learning-rate."
            )
            break
        lowest = min(lowest, line.train_loss)
    clipped = [line.gradient_norm > clip_norm for line in lines]
    if clip_norm and lines and np.mean(clipped) > 0.5:
        said.append(
            f"Most gradients are longer than --clip-norm {clip_norm:g}. Try a lower "
            "--learning-rate, or clip less."
        )
    return said


def _on_layers(layers: Sequence[LayerFindings]) -> list[str]:
    said = []
    for depth, layer in enumerate(layers, 1):
        if layer.dead >= 0.05 * layer.units:
            said.append(
                f"Layer {depth}: {layer.dead} of {layer.units} units are dead. Try "
                "fewer units, or a lower --learning-rate."
            )
        elif layer.hidden >= 0.1 * layer.units:
            said.append(
                f"Layer {depth}: the output gates of {layer.hidden} of {layer.units} "
                "units never open. Try fewer units."
            )
        if layer.memory[2] < 2:
            said.append(
                f"Layer {depth}: hardly a unit remembers 2 symbols. Try "
                "a higher bias of the gate that keeps (f, of a GRU z) at the start."
            )
    return said


def _on_fit(lines: Sequence[HistoryRow]) -> list[str]:
    measured, best = validations(lines), best_validation(lines)
    began = overfitting_began(lines)
    if began:
        return [
            f"Overfitting began at step {began.step:,}. Try --dropout, "
            "--weight-drop or a smaller network; --patience ends such a run."
        ]
    last = measured[-1] if measured else None
    if not last or last is not best or not last.train_eval:
        return []
    gap = last.val["loss"] - last.train_eval["loss"]
    if gap > 0.1:
        return []
    return [
        f"Still improving at the end, with training and validation loss {gap:.2f} nats "
        "apart. Train longer, or a larger network."
    ]
