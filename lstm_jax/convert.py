"""Convert recurrent layers: `python -m lstm_jax.convert SOURCE TARGET`.

SOURCE is a file of PyTorch (.pt, .safetensors), Keras (.keras, .weights.h5, .h5), Flax,
Haiku (.npz, .safetensors, .msgpack), Equinox (.eqx), ONNX (.onnx) or ours, or the
folder of a run. What TARGET is its ending says, or --to: lstm_jax, torch, keras, linen,
nnx, haiku, equinox or onnx. Both are run on random input, and what was converted is
printed with the largest error between them. Nothing in a file is executed, and nothing
is overwritten.

A text generator, the folder of its run, becomes a program with --to numpy (a folder),
c, html (a page for a browser) or stablehlo (for JAX alone). --to onnx-model makes the
whole network of a run a graph, of an encoder-decoder a folder of two; with such a graph
as SOURCE, TARGET is a run directory again.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from lstm_jax import cli


@dataclasses.dataclass(frozen=True)
class ConvertOptions:
    """What to convert to what."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """A file of weights, or the folder of a run."""
    target: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TARGET")]
    """The file to be written; nothing may be there."""
    to: str = ""
    """What to write. Default: what the ending of TARGET says."""
    name: str = ""
    """Which layers, where SOURCE has several; the message names them."""
    keep_biases: bool = False
    """Keep both biases of an LSTM of PyTorch in our file, bit for bit."""
    int8: bool = False
    """Write weights of eight bits into a file of C; a page has them always."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, convert, print what was done."""
    options = cli.parse(ConvertOptions, "convert", __doc__ or "", argv)

    from lstm_jax.interop.formats import convert_file

    for line in convert_file(
        options.source,
        options.target,
        options.to,
        name=options.name,
        keep_biases=options.keep_biases,
        int8=options.int8,
    ):
        print(line)


if __name__ == "__main__":
    cli.run_command(main)
