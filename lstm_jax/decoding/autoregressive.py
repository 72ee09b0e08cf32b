"""From a prompt to a continuation: read it, then sample symbol after symbol.

    prompt -> read_prompt -> DecoderState -> repeat_rows -> chunk after chunk

Reading and writing are loops inside compiled programs, a chunk of the text at a time:
what is made can be shown as it is made. Neither a longer prompt nor a longer text
compiles anything anew. On a CPU the loop is a call of the engine `native` where that
can be (`one_call.py`). A small model takes a few microseconds per symbol, so what
happens once per chunk is kept to one call, with plain Python numbers, which JAX hands
over faster than any array. All randomness comes from a key per row and the place in
the text.

A `DecoderState` is all that a model knows at one place of a text. It is a value: going
on from it twice is branching, and costs nothing but the going on.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.data.special_ids import NO_SYMBOL
from lstm_jax.decoding.checks import check_count, checked_allowed, checked_ids
from lstm_jax.decoding.config import GREEDY, MEMORY, SamplingConfig
from lstm_jax.decoding.one_call import on_one_device, stack_of
from lstm_jax.decoding.sampling import (
    Numbers,
    SamplingFlags,
    gumbel_noise,
    remember,
    rules_of,
    sample,
)
from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.distributed.mesh import local_row_mesh, replicate, shard_rows
from lstm_jax.engines.devices import on_gpu
from lstm_jax.engines.native.stack import Choice, Stack, read_ids, write_ids
from lstm_jax.errors import InputError
from lstm_jax.models.language import LanguageModel, States
from lstm_jax.ops.seeds import check_seed, seed_key
from lstm_jax.typing import (
    Count,
    Ids,
    Labels,
    NextIds,
    PRNGKey,
    PRNGKeys,
    RecentIds,
    Scalar,
    StepIds,
)

CHUNK = 64  # symbols per compiled call
_LONG_CHUNK = 256  # where they take milliseconds and no noise
_MILLISECONDS = 1e9  # operations that take some
_MOST_NOISE = 2**22  # numbers at a time: 16 MB, where 100 rows of subwords need GBs
_WIDE = 512  # units, from which on a product of few rows is itself worth all cores


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DecoderState:
    """What is known at one place of a text, row by row.

    Attributes:
        states: of every layer.
        recent: the last symbols read or made, for a repetition penalty.
        place: how many symbols were made since the prompt.
    """

    states: States
    recent: RecentIds
    place: Count


class Chunk(NamedTuple):
    """Symbols made, ids [N, B], and the snapshot after them."""

    ids: np.ndarray
    after: DecoderState


def read_prompt(
    model: LanguageModel,
    prompt: ArrayLike,
    before: DecoderState | None = None,
    memory: int = MEMORY,
) -> DecoderState:
    """What is known after a prompt: one row, or all those of `before`.

    Args:
        model: the model.
        prompt: ids, any number, none included.
        before: where to go on reading; the beginning of a text if None.
        memory: M, how many of the last symbols are remembered, if it is the beginning;
            see `memory_for`.

    Raises:
        InputError: ids that the model does not have.
    """
    prompt = checked_ids(prompt, model.b_out.shape[0], "the prompt")
    reader = stack_of(model) or model
    if before is None:
        before = _beginning(reader, memory)
    elif not on_one_device(before):
        reader = model
    rows = len(before.recent)
    for start in range(0, len(prompt), CHUNK):
        chunk = prompt[start : start + CHUNK]
        ids = np.zeros((CHUNK, rows), np.int32)
        ids[: len(chunk)] = chunk[:, None]
        before = _read(reader, before, ids, len(chunk))
    return before


def read_prompts(
    model: LanguageModel, prompts: Sequence[ArrayLike], memory: int = MEMORY
) -> DecoderState:
    """What is known after each of several prompts of any lengths, a row of its own.

    Raises:
        InputError: ids that the model does not have, or no prompt at all.
    """
    check_count("prompts", len(prompts), 1)
    snapshots = [read_prompt(model, prompt, memory=memory) for prompt in prompts]
    return _joined(snapshots) if len(snapshots) > 1 else snapshots[0]


def memory_for(sampling: SamplingConfig, symbols: int) -> int:
    """How many symbols have to be remembered of a text of so many, its prompt included.

    It is one of few numbers, for each is a program to compile.
    """
    if not sampling.looks_back or symbols <= MEMORY:
        return MEMORY
    return 2 ** math.ceil(math.log2(symbols))


def _joined(snapshots: Sequence[DecoderState]) -> DecoderState:
    """The rows of several snapshots, of the same place in their texts."""
    states, recent = jax.tree.map(
        lambda *rows: jnp.concatenate(rows), *((s.states, s.recent) for s in snapshots)
    )
    return DecoderState(states, recent, snapshots[0].place)


@functools.partial(bounded_jit, static_argnames="memory")
def _beginning(model: LanguageModel | Stack, memory: int) -> DecoderState:
    nothing = jnp.full((1, memory), NO_SYMBOL, jnp.int32)
    return DecoderState(model.initial_state(1), nothing, jnp.int32(0))


@bounded_jit
def _read(
    model: LanguageModel | Stack, before: DecoderState, ids: Ids, count: Count
) -> DecoderState:
    """What is known after the first `count` symbols of ids [T, B]."""
    recent = remember(before.recent, ids, count)
    if isinstance(model, Stack):
        states = read_ids(model, before.states, ids, count)
        return DecoderState(states, recent, before.place)

    def one(t: jax.Array, states: States, made: Ids) -> tuple[States, StepIds]:
        return model.step(ids[t], states), ids[t]

    states, _ = _repeat(one, count, before.states, ids.shape[1])
    return DecoderState(states, recent, before.place)


def repeat_rows(snapshot: DecoderState, rows: int) -> DecoderState:
    """Every row of a snapshot `rows` times."""
    return snapshot if rows == 1 else _repeated(snapshot, rows)


@functools.partial(bounded_jit, static_argnames="rows")
def _repeated(snapshot: DecoderState, rows: int) -> DecoderState:
    copies = functools.partial(jnp.repeat, repeats=rows, axis=0)
    states = jax.tree.map(copies, snapshot.states)
    return DecoderState(states, copies(snapshot.recent), snapshot.place)


def row_keys(seeds: Sequence[int]) -> PRNGKeys:
    """A key for each of these seeds: that of the first sample of the seed."""
    return jnp.stack([jax.random.fold_in(seed_key(seed), 0) for seed in seeds])


def sample_keys(seed: int, samples: int) -> PRNGKeys:
    """Keys of one seed. Sample n does not depend on how many there are."""
    return _numbered(seed_key(seed), samples)


@functools.partial(bounded_jit, static_argnames="count")
def _numbered(key: PRNGKey, count: int) -> PRNGKeys:
    return jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(count))


def generate_ids(
    model: LanguageModel,
    prompt: ArrayLike,
    length: int,
    sampling: SamplingConfig = GREEDY,
    *,
    samples: int = 1,
    seed: int = 0,
    allowed: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Continue a prompt.

    Args:
        model: the model.
        prompt: ids, any number, none included.
        length: how many symbols to make.
        sampling: how to choose them.
        samples: how many continuations, side by side; each has its own key.
        seed: decides all of them. Sample n does not depend on how many there are.
        allowed: [V], symbols that may appear; all if None.

    Returns:
        Chunks of the continuation, ids [N, samples], N being 64 or less; of a small
        model 256 or less.

    Raises:
        InputError: at once, for ids that the model does not have or a number that makes
            no sense.
    """
    vocab_size = model.b_out.shape[0]
    prompt = checked_ids(prompt, vocab_size, "the prompt")
    check_count("samples", samples, 1)
    check_count("length", length, 0)
    rules = rules_of(sampling, vocab_size)
    memory = memory_for(sampling, len(prompt) + length)
    check_seed(seed)
    stack = stack_of(model, rules[0]) if len(prompt) <= CHUNK else None
    if stack is not None:
        keys = sample_keys(seed, samples) if rules[0].chance else None
        start = _Start(stack, prompt, samples, memory)
        may_appear = checked_allowed(allowed, vocab_size)
        return _continued_in_one_call(start, length, rules, keys, may_appear)
    snapshot = repeat_rows(read_prompt(model, prompt, memory=memory), samples)
    keys = sample_keys(seed, samples)
    chunks = generate_from(model, snapshot, length, sampling, keys, allowed)
    return (chunk.ids for chunk in chunks)


def generate_from(
    model: LanguageModel,
    snapshot: DecoderState,
    length: int,
    sampling: SamplingConfig,
    keys: PRNGKeys,
    allowed: np.ndarray | None = None,
) -> Iterator[Chunk]:
    """Go on from a snapshot.

    Rows never meet, so those of a narrow model are spread over the devices. What
    follows a chunk is what would have followed anyway: making a text in several
    calls, each from the snapshot after the last, is making it in one.

    Args:
        model: the model.
        snapshot: of B rows.
        length: how many symbols to make.
        sampling: how to choose them.
        keys: [B]; of `sample_keys` or `row_keys`.
        allowed: [V], symbols that may appear; all if None.

    Returns:
        Chunks of the continuation, made as they are asked for.

    Raises:
        InputError: at once, for a number that makes no sense.
    """
    vocab_size = model.b_out.shape[0]
    rules = rules_of(sampling, vocab_size)
    check_count("length", length, 0)
    if keys.shape != (rows := len(snapshot.recent),):
        raise InputError(
            f"keys: expected one for each row, [{rows}], found {list(keys.shape)}"
        )
    may_appear = checked_allowed(allowed, vocab_size)
    stack = stack_of(model, rules[0]) if on_one_device((snapshot, keys)) else None
    if stack is not None:
        return _chunks_in_one_call(stack, snapshot, length, rules, keys, may_appear)
    return _chunks(model, snapshot, length, rules, keys, jax.device_put(may_appear))


class _Start(NamedTuple):
    """A prompt that is yet to be read, and once for so many rows."""

    stack: Stack
    prompt: np.ndarray
    rows: int
    memory: int


def _continued_in_one_call(
    start: _Start,
    length: int,
    rules: tuple[SamplingFlags, Numbers],
    keys: PRNGKeys | None,
    may_appear: np.ndarray,
) -> Iterator[np.ndarray]:
    """Read a prompt and make its first chunk, then the others, by the engine `native`.

    One call for all that is the work of most: a small model takes no longer than JAX
    takes to begin a few.
    """
    stack, prompt, rows, memory = start
    ids = np.zeros(CHUNK, np.int32)
    ids[: len(prompt)] = prompt
    room = _room(stack, rows, rules[0])
    if count := min(room, length):
        given = (stack, ids, len(prompt), keys, may_appear, count)
        options = (rules[1].temperature, rules[0], room, rows, memory)
        snapshot, made = _read_and_write(*given, *options)
        yield np.asarray(made)[:count]
        more = length - count, rules, keys, may_appear
        yield from (chunk.ids for chunk in _chunks_in_one_call(stack, snapshot, *more))


@functools.partial(bounded_jit, static_argnames=("flags", "room", "rows", "memory"))
def _read_and_write(
    stack: Stack,
    ids: Labels,
    count: Count,
    keys: PRNGKeys | None,
    may_appear: jax.Array,
    length: Count,
    temperature: Scalar,
    flags: SamplingFlags,
    room: int,
    rows: int,
    memory: int,
) -> tuple[DecoderState, NextIds]:
    """Read the first `count` of ids [T], and make the next symbols of several rows."""
    read = _read(stack, _beginning(stack, memory), ids[:, None], count)
    several = repeat_rows(read, rows)
    return _write(stack, several, keys, may_appear, length, temperature, flags, room)


def _room(stack: Stack, rows: int, flags: SamplingFlags) -> int:
    """The length of a chunk: 64, or more where that is soon made.

    Noise is made for all the room that there is: less room where it would be much.
    """
    if not flags.chance:
        quick = stack.operations * rows * _LONG_CHUNK < _MILLISECONDS
        return _LONG_CHUNK if quick else CHUNK
    room = CHUNK
    while room > 1 and room * rows * len(stack.b_out) > _MOST_NOISE:
        room //= 2
    return room


def _chunks_in_one_call(
    stack: Stack,
    snapshot: DecoderState,
    length: int,
    rules: tuple[SamplingFlags, Numbers],
    keys: PRNGKeys | None,
    may_appear: np.ndarray,
) -> Iterator[Chunk]:
    """Make chunk after chunk, by the engine `native`."""
    flags, numbers = rules
    room = _room(stack, len(snapshot.recent), flags)
    for start in range(0, length, room):
        count = min(room, length - start)
        snapshot, ids = _write(
            stack, snapshot, keys, may_appear, count, numbers.temperature, flags, room
        )
        yield _finished(ids, count, snapshot)


@functools.partial(bounded_jit, static_argnames=("flags", "room"))
def _write(
    stack: Stack,
    snapshot: DecoderState,
    keys: PRNGKeys | None,
    may_appear: jax.Array,
    count: Count,
    temperature: Scalar,
    flags: SamplingFlags,
    room: int,
) -> tuple[DecoderState, NextIds]:
    """The next `count` symbols of every row."""
    start, noise = snapshot.place, None
    if keys is not None and flags.chance:
        noise = gumbel_noise(keys, start, room, len(may_appear))
    choice = Choice(may_appear, temperature, noise)
    made, states = write_ids(stack, snapshot.states, count, choice, room)
    recent = remember(snapshot.recent, made, count)
    return DecoderState(states, recent, start + count), made


def _chunks(
    model: LanguageModel,
    snapshot: DecoderState,
    length: int,
    rules: tuple[SamplingFlags, Numbers],
    keys: PRNGKeys,
    may_appear: jax.Array,
) -> Iterator[Chunk]:
    """Make chunk after chunk; a GPU makes the next one while one is looked at."""
    flags, numbers = rules
    mesh = local_row_mesh(len(keys))
    if mesh.size > 1 and model.layers[0].w_h.shape[0] < _WIDE:
        model, may_appear = replicate(mesh, (model, may_appear))
        states, recent, keys = shard_rows(
            mesh, (snapshot.states, snapshot.recent, keys)
        )
        snapshot = DecoderState(states, recent, replicate(mesh, snapshot.place))
    begun: list[tuple[jax.Array, int, DecoderState]] = []
    for start in range(0, length, CHUNK):
        count = min(CHUNK, length - start)
        snapshot, ids = _continue(
            model, snapshot, keys, may_appear, count, numbers, flags
        )
        begun.append((ids, count, snapshot))
        if len(begun) > on_gpu():
            yield _finished(*begun.pop(0))
    for each in begun:
        yield _finished(*each)


def _finished(ids: jax.Array, count: int, after: DecoderState) -> Chunk:
    return Chunk(np.asarray(ids)[:count], after)


@functools.partial(bounded_jit, static_argnames="flags")
def _continue(
    model: LanguageModel,
    snapshot: DecoderState,
    keys: PRNGKeys,
    may_appear: jax.Array,
    count: Count,
    numbers: Numbers,
    flags: SamplingFlags,
) -> tuple[DecoderState, Ids]:
    """The next `count` symbols of every row."""
    start, recent = snapshot.place, snapshot.recent

    def one(k: jax.Array, states: States, made: Ids) -> tuple[States, StepIds]:
        logits = model.next_logits(states).astype(jnp.float32)
        logits = jnp.where(may_appear, logits, -jnp.inf)
        now = remember(recent, made, k) if flags.looks_back else recent
        ids = sample(logits, now, keys, start + k, flags, numbers)
        return model.step(ids, states), ids

    states, made = _repeat(one, count, snapshot.states, len(keys))
    return DecoderState(states, remember(recent, made, count), start + count), made


def _repeat(
    step: Callable[[jax.Array, States, Ids], tuple[States, StepIds]],
    count: Count,
    states: States,
    rows: int,
) -> tuple[States, Ids]:
    """Make the first `count` of CHUNK steps, and of their ids an array [CHUNK, B].

    A GPU works off a loop of known length by itself. Before each step of any other the
    host has to ask it whether there is another, which takes as long as the step does.
    So there all steps are made, and those past `count` change nothing.

    Args:
        step: from k, the states and the ids before k to the states and the ids of k.
        count: how many steps.
        states: where to start.
        rows: B.

    Returns:
        The states after them, and the ids: zeros where there was no step.
    """
    known = on_gpu()

    def one(k: jax.Array, carried: tuple[States, Ids]) -> tuple[States, Ids]:
        before, made = carried
        after, ids = step(k, before, made)
        if known:
            keep = functools.partial(jnp.where, k < count)
            after, ids = jax.tree.map(keep, after, before), keep(ids, 0)
        return after, jax.lax.dynamic_update_index_in_dim(made, ids, k, axis=0)

    made = jnp.zeros((CHUNK, rows), jnp.int32)
    return jax.lax.fori_loop(0, CHUNK if known else count, one, (states, made))
