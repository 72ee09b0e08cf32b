"""One file per library: the same model as its own users would write it at its best.

Each has four functions from a `Shape` (and options) to a `Program`: `train`,
`evaluate`, `layer` and `generate`, and `about`, what it runs on.
"""
