"""The letters of every array shape in this library, and the types built on them.

    T   time steps                  D   input features
    B   batch rows                  H   hidden units
    L   layers                      G   gate pre-activations: 4H, order i, f, g, o
    V   symbols in the vocabulary   K   optimizer steps per compiled call
    W   width of a beam             M   last symbols remembered
    S   steps that are attended to  A   width of queries and keys, C of values
    P   points of a series' past    F   points of its forecast, Q quantiles of each
    E   models of an ensemble
    N   symbols of a transcript

The recurrence is time-major, [T, B, ...]: cells, engines, `lstm`, decoding. Networks,
their layers and their batches are batch-major, [B, T, ...]. The annotations are checked
while the tests run and cost nothing otherwise. `*n` stands for any leading dimensions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jax import Array
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Key
else:
    try:
        from jaxtyping import Bool, Float, Int, Key
    except ModuleNotFoundError:

        class Bool:
            """An array of any shape, where shapes are not checked."""

            def __class_getitem__(cls, item: tuple[type, str]) -> type:
                return item[0]

        Float = Int = Key = Bool

Size = Any  # of T or B: a whole number, or a symbol of `jax.export`

# One step of the cell: any leading dimensions, none included.
StepInput = Float[Array, "*n D"]
StepGates = Float[Array, "*n G"]
StepState = Float[Array, "*n H"]
Activations = Float[Array, "*n"]  # of any shape

# A whole sequence.
Inputs = Float[Array, "T B D"]
Gates = Float[Array, "T B G"]
Hidden = Float[Array, "T B H"]
State = Float[Array, "B H"]
Lengths = Int[Array, " B"]
Flags = Bool[Array, "T B"]

# The same, batch first, as Flax layers have it.
BatchInputs = Float[Array, "B T D"]
BatchHidden = Float[Array, "B T H"]
SideFeatures = Float[Array, "B T side"]
BatchFlags = Bool[Array, "B T"]

# What callers may give: any number of batch axes, and lists or arrays of NumPy's.
AnyInputs = Float[Array, "T *B D"] | NDArray[Any]
AnyHidden = Float[Array, "T *B H"]
LayerInputs = Float[Array, "*B T D"] | NDArray[Any]
LayerHidden = Float[Array, "*B T H"]
AnyLengths = Int[Array, "*B"] | NDArray[Any] | Sequence[Any]
AnyFlags = Bool[Array, "..."] | Int[Array, "..."] | NDArray[Any] | Sequence[Any]

# Attention, batch first: queries over keys [B, S, A] and values [B, S, C].
Queries = Float[Array, "B T A"]
Keys = Float[Array, "B S A"]
Values = Float[Array, "B S C"]
Contexts = Float[Array, "B T C"]
AttentionWeights = Float[Array, "B T S"]

# Parameters.
RecurrentWeights = Float[Array, "H G"]
GateBias = Float[Array, " G"]

# Time series, batch first like the layers that read them.
Past = Float[Array, "B P"]
Covariates = Float[Array, "B R C"]
Future = Float[Array, "B F"]
Quantiles = Float[Array, "B F Q"]
Forecasts = Float[Array, "E B F Q"]
NextFrames = Float[Array, "B F D"]  # pictures that follow, each row by row
StepValues = Float[Array, "B T"]
Anchors = Float[Array, "B T A"]  # A guesses of the point of every step
MixtureParts = Float[Array, "B T K"]  # of K distributions

# Symbols and logits.
Ids = Int[Array, "T B"]
StepIds = Int[Array, " B"]
BatchIds = Int[Array, "B T"]
SourceIds = Int[Array, "B S"]
BatchLogits = Float[Array, "B T V"]
RecentIds = Int[Array, "B M"]  # the last symbols of every row, the newest at the end
Logits = Float[Array, "T B V"]
StepLogits = Float[Array, "B V"]
NextIds = Int[Array, "N B"]  # the N symbols that come next
Noise = Float[Array, "N B V"]  # added to the scores of the N symbols that come next
FrameLogits = Float[Array, "B T V"]
Transcripts = Int[Array, "B N"]
RowVectors = Float[Array, "B F"]  # one vector per row, of any width
BeamScores = Float[Array, "B W"]
BeamLengths = Int[Array, "B W"]
BeamIds = Int[Array, "B W T"]
Labels = Int[Array, "*n"]
LabelMask = Bool[Array, "*n"]
LabelLogits = Float[Array, "*n V"]
Scalar = Float[Array, ""]
Count = Int[Array, ""]
PRNGKey = Key[Array, ""]
PRNGKeys = Key[Array, " B"]

Size = Any  # of an axis: an int, or a symbol of jax.export
Model = Any  # a pytree of parameters, an NNX module for one
Carry = Any  # what a task hands from batch to batch: states, or ()
Batch = Any  # a pytree of arrays
