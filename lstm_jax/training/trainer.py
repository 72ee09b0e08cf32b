"""Training any model on any task: the loop, the best model, its curves.

`train` runs a language model with checkpoints and a resume; the experiments, whose runs
are shorter, go through here.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jax

from lstm_jax.distributed.multihost import any_says, leads
from lstm_jax.storage.files import Fields
from lstm_jax.training.compiled import Programs
from lstm_jax.training.history import Line, out_of_patience
from lstm_jax.training.loop import Clock, Task, fit
from lstm_jax.training.recorder import Keeper
from lstm_jax.training.schedule import Plan
from lstm_jax.training.step import init_state
from lstm_jax.typing import Carry, Model


@dataclasses.dataclass(frozen=True)
class Trained:
    """The best model by validation loss, on the host, and how it came about.

    Without a finite validation loss it is the last one. `lines` is the history (see
    `lstm_jax.training.history.Line`), `clock` says where the seconds went, `ended` why
    it was over.
    """

    model: Model
    step: int
    lines: list[Fields]
    clock: Clock
    ended: str


def train_model(
    task: Task,
    model: Model,
    plan: Plan,
    programs: Programs,
    *,
    carry: Carry = (),
    seed: int = 0,
    steps_per_call: int = 1,
    evaluations: int = 10,
    patience: int | None = None,
    min_improvement: float = 0.0,
    run_dir: Path | None = None,
    say: Callable[[str], None] = print,
    interrupted: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train a model from where it is until the plan is over.

    Args:
        task: what to learn. The loss must be that of the programs.
        model: the first parameters, kept as they are.
        plan: when to end, and the learning rate until then.
        programs: loss and optimizer, and what was compiled of them before.
        carry: what the first batch goes on from.
        seed: of dropout and its like.
        steps_per_call: see `fit`.
        evaluations: validations, evenly spread.
        patience: end after so many validations without an improvement. Default: never.
        min_improvement: by how much the loss must fall to count as improved.
        run_dir: where to write `metrics.jsonl`, if anywhere.
        say: is handed a line of text per validation.
        interrupted: asked after every compiled call; True ends the run early, with the
            best model so far.

    Raises:
        InputError: there is no time for a step, or the loss is no longer a finite
            number.
    """
    clock = Clock()
    keeper = Keeper(None, clock)
    own = jax.tree.map(lambda array: array.copy(), model)  # `fit` gives its state away
    state = init_state(own, programs.optimizer, carry, jax.random.key(seed))
    loop = fit(
        task,
        programs.optimizer,
        state,
        plan,
        clock,
        steps_per_call=steps_per_call,
        evaluations=evaluations,
        programs=programs,
    )
    ended = None
    for state, line in loop:
        keeper.keep(state, line)
        if line.val_loss is not None:
            say(progress(line, plan))
        ended = out_of_patience(keeper.lines, patience, min_improvement)
        if any_says(interrupted()):
            ended = "interrupted"
        if ended:
            break
    clock.stop()
    keeper.finish(state, ended or "finished")
    if run_dir and keeper.lines and leads():
        write_history(run_dir, keeper.lines)
    return Trained(
        keeper.best_model, keeper.best_step, keeper.lines, clock, ended or "finished"
    )


def progress(line: Line, plan: Plan) -> str:
    """A line of history in words."""
    share = plan.progress(line.step, line.seconds)
    training = _loss_and_accuracy(line.train_loss, line.train_accuracy)
    validation = _loss_and_accuracy(line.val_loss, line.val_accuracy)
    return (
        f"{share:4.0%}  step {line.step:>6,}  epoch {line.epoch:6.2f}  "
        f"{line.seconds:6.1f} s  train {training}  val {validation}"
    )


def _loss_and_accuracy(loss: float | None, accuracy: float | None) -> str:
    beside = "" if accuracy is None else f" (acc {accuracy:.3f})"
    return f"{loss:.4f}{beside}"


def write_history(run_dir: Path, lines: list[Fields]) -> None:
    """Write the lines as `metrics.jsonl`."""
    run_dir.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run_dir / "metrics.jsonl").write_text(text)
