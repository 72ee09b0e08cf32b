"""Ways to run the recurrence over a sequence. All mean the same.

For a cell, an engine is a function
`(inputs, weights, state, resets, valid, reverse) -> (hs, state)`:

    inputs  [T, B, NH]  the inputs' share of the N blocks, x_t @ w_x + b, where the cell
                        projects (N is 4 for an LSTM); x_t itself, [T, B, D], where not
    weights             what `Cell.loop_weights` picks; of an LSTM w_h [H, 4H]
    state               the state before the first step, arrays [B, H]; finite, even in
                        rows that no step advances
    resets  [T, B]      or None: rows whose state is zeroed before step t
    valid   [T, B]      or None: rows that step t advances; others keep their state.
                        The steps of a row that count come first, unless the spec has
                        a mask. Inputs are those of zeros, or zeros, where not valid
    reverse             walk from t = T-1 to t = 0

    hs      [T, B, H]   the hidden state after each step; any number where not valid
    state               the state after the last step walked

One that projects by itself takes the inputs xs [T, B, D] and all parameters in the
place of inputs and weights. One that lets regularizers into the loop takes their
`LoopMasks` after the others, if there are any. Beside an engine stands a function
`unsupported(spec)`: what it lacks for a `RecurrenceSpec`, None if nothing.
`lstm_jax.engines.dispatch` has the table of them all.
"""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.engines.devices import as_if_on as as_if_on
    from lstm_jax.engines.dispatch import EngineChoice as EngineChoice
    from lstm_jax.engines.dispatch import explain_engine as explain_engine
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
