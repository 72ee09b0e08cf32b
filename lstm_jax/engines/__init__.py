"""Ways to run the recurrence over a sequence. All mean the same.

An engine is a function `(z, w_h, state, starts, valid, reverse) -> (hs, state)`:

    z       [T, B, 4H]  the inputs' share of the gates, x_t @ w_x + b
    w_h     [H, 4H]     recurrent weights
    state               the state before the first step, h and c [B, H]
    starts  [T, B]      or None: rows whose state is zeroed before step t
    valid   [T, B]      or None: rows that step t advances; others keep their state
    reverse             walk from t = T-1 to t = 0

    hs      [T, B, H]   the hidden state after each step
    state               the state after the last step walked
"""
