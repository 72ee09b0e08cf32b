"""From a prompt to a continuation: the model's own scores, and the laws of sampling."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

from lstm_jax.decoding import autoregressive
from lstm_jax.decoding.autoregressive import (
    CHUNK,
    DecoderState,
    generate_from,
    generate_ids,
    memory_for,
    read_prompt,
    read_prompts,
    repeat_rows,
    row_keys,
    sample_keys,
)
from lstm_jax.decoding.config import GREEDY, MEMORY, SamplingConfig
from lstm_jax.decoding.likelihood import score_ids, search_ids
from lstm_jax.engines.native.build import why_not_built
from lstm_jax.errors import InputError
from lstm_jax.models.language import LanguageModel, States
from lstm_jax.ops.seeds import seed_key
from lstm_jax.typing import Ids, PRNGKey, StepIds, StepLogits

V, H, L = 6, 8, 2
RNG = np.random.default_rng(0)
TEXT = RNG.integers(V, size=150).astype(np.uint8)
ROWS = 32  # samples in the tests of chance: 32 x 128 draws
CHANCES = np.array([0.35, 0.25, 0.2, 0.1, 0.06, 0.04])


class Recorder(LanguageModel):
    """A language model that writes down every score it gives."""

    def next_logits(self, states: States) -> StepLogits:
        """The scores, after a copy of them went into the book."""
        scores = super().next_logits(states)
        jax.debug.callback(lambda s: BOOK.append(np.array(s)), scores, ordered=True)
        return scores


class Counter(LanguageModel):
    """A language model that counts how often a program is made of it."""

    def step(self, ids: StepIds, states: States) -> States:
        """The step, and a note that this is no run of a compiled program."""
        TRACES.append("step")
        return super().step(ids, states)

    def read_over_time(
        self,
        ids: Ids,
        states: States | None = None,
        *,
        key: PRNGKey | None = None,
        lengths: jax.Array | None = None,
    ) -> tuple[jax.Array, States]:
        """The same for reading."""
        TRACES.append("read")
        return super().read_over_time(ids, states, key=key, lengths=lengths)


BOOK: list[NDArray] = []
TRACES: list[str] = []


@functools.cache
def lively(kind: type[LanguageModel] = LanguageModel) -> LanguageModel:
    """A model whose greedy text goes on changing.

    Its weights are large, and the seed was chosen for that. In the texts made here the
    first and second choice are never closer than 5e-4: far more than rounding.
    """
    rng = np.random.default_rng(1)
    model = kind(V, H, L, rngs=nnx.Rngs(0))
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), model)


@functools.cache
def known() -> LanguageModel:
    """A model that draws every symbol from CHANCES, whatever it has read."""
    model = LanguageModel(V, 2, 1, rngs=nnx.Rngs(0))
    model.w_out[...] *= 0
    model.b_out[...] = jnp.log(CHANCES)
    return model


def continuation(
    model: LanguageModel,
    prompt: NDArray,
    length: int,
    sampling: SamplingConfig = GREEDY,
    samples: int = 1,
    seed: int = 0,
    allowed: NDArray | None = None,
) -> NDArray:
    """All pieces in one, ids [length, samples]."""
    pieces = generate_ids(
        model, prompt, length, sampling, samples=samples, seed=seed, allowed=allowed
    )
    return np.concatenate(list(pieces))


def full_scores(model: LanguageModel, ids: NDArray) -> NDArray:
    """The scores after each symbol, in one forward pass [T, V]."""
    forward = jax.jit(LanguageModel.__call__)
    return np.asarray(forward(model, jnp.asarray(ids, jnp.int32)[None])[0][0])


# The model's own scores.


@pytest.mark.parametrize("prompt_length", [1, 20, 64, 65, 129])
def test_generating_is_reading_forward(prompt_length: int) -> None:
    """At generated places too: the scores, and the symbol chosen by them."""
    BOOK.clear()
    model, length = lively(Recorder), 100
    prompt = TEXT[:prompt_length]
    made = continuation(model, prompt, length)[:, 0]
    jax.effects_barrier()
    whole = full_scores(model, np.concatenate([prompt, made]))
    expected = whole[prompt_length - 1 : -1]
    found = np.concatenate(BOOK)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(made, expected.argmax(axis=-1))
    assert len(np.unique(made)) > 3  # not a text that any mistake would make


def test_reading_in_pieces_is_reading_at_once() -> None:
    """Whatever the length leaves of the last piece."""
    model = lively()
    whole = full_scores(model, TEXT)
    scores = jax.jit(LanguageModel.next_logits)
    for length in (1, 2, 63, 64, 65, 127, 128, 129, 150):
        found = scores(model, read_prompt(model, TEXT[:length]).states)
        np.testing.assert_allclose(found[0], whole[length - 1], rtol=1e-4, atol=1e-4)


def test_what_is_read_may_have_any_type_of_ids() -> None:
    model = lively()
    for dtype in (np.uint16, np.uint32, np.int64):
        a, b = read_prompt(model, TEXT), read_prompt(model, TEXT.astype(dtype))
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_without_a_prompt_the_zero_state_speaks() -> None:
    model = lively()
    made = continuation(model, TEXT[:0], 20)
    assert made[0] == np.argmax(model.b_out[...])
    np.testing.assert_array_equal(made[1:], continuation(model, made[0], 19))


@pytest.mark.parametrize(
    "sampling", [SamplingConfig(), SamplingConfig(1.0)], ids=["greedy", "drawn"]
)
def test_a_longer_text_begins_with_the_shorter(sampling: SamplingConfig) -> None:
    model = lively()
    long = continuation(model, TEXT[:3], 140, sampling=sampling)
    for length in (1, 63, 64, 65, 128):
        short = continuation(model, TEXT[:3], length, sampling=sampling)
        np.testing.assert_array_equal(short, long[:length])


class Looped(LanguageModel):
    """A language model that the engine `native` does not know: XLA makes its loops."""


class OnGpu(Looped):
    """One of which programs are made as for a GPU."""


def test_pieces_come_as_they_are_made() -> None:
    pieces = generate_ids(lively(Looped), TEXT[:3], 130, samples=2)
    assert [chunk.shape for chunk in pieces] == [(64, 2), (64, 2), (2, 2)]
    if why_not_built() is None:  # longer ones where that takes no time
        for length, later in ((130, []), (400, [144])):
            pieces = generate_ids(lively(), TEXT[:3], length)
            assert [len(chunk) for chunk in pieces] == [min(length, 256), *later]
    assert list(generate_ids(lively(), TEXT[:3], 0)) == []


@pytest.mark.parametrize(
    "sampling", [SamplingConfig(), SamplingConfig(1.0)], ids=["greedy", "drawn"]
)
def test_a_gpu_makes_the_same_in_loops_of_known_length(
    sampling: SamplingConfig,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths: list[object] = []
    loop = jax.lax.fori_loop

    def written_down(start: int, end: object, *others: object) -> object:
        lengths.append(end)
        return loop(start, end, *others)

    def both(kind: type[LanguageModel]) -> tuple[NDArray, DecoderState]:
        model = lively(kind)
        start = repeat_rows(read_prompt(model, TEXT[:70]), 2)
        chunks = list(generate_from(model, start, 100, sampling, sample_keys(0, 2)))
        return np.concatenate([chunk.ids for chunk in chunks]), chunks[-1].after

    wanted = both(Looped)
    request.getfixturevalue("h100")
    monkeypatch.setattr(jax.lax, "fori_loop", written_down)
    found = both(OnGpu)
    np.testing.assert_array_equal(found[0], wanted[0])
    jax.tree.map(np.testing.assert_array_equal, found[1], wanted[1])
    # Whether there is another step would else be asked by the host before each.
    assert lengths and all(length == CHUNK for length in lengths)


@pytest.mark.parametrize(("device", "begun"), [(None, 1), ("h100", 2)])
def test_a_gpu_makes_the_next_piece_while_one_is_looked_at(
    device: str | None,
    begun: int,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if device:
        request.getfixturevalue(device)
    module = "lstm_jax.decoding.autoregressive"
    calls, make = [], autoregressive._continue
    monkeypatch.setattr(
        f"{module}._continue", lambda *args: (calls.append(1), make(*args))[1]
    )
    pieces = generate_ids(lively(OnGpu if device else Looped), TEXT[:3], 130)
    next(pieces)
    assert len(calls) == begun


def traces(calls: Iterable[Callable[[], NDArray]]) -> list[int]:
    """How often the model was traced before the first call, and after each."""
    counts = []
    for call in calls:
        counts.append(len(TRACES))
        call()
    return [*counts, len(TRACES)]


def test_other_lengths_compile_nothing() -> None:
    model = lively(Counter)
    sizes = [(5, 3), (0, 1), (1, 64), (64, 65), (150, 200)]
    first, *others = traces(
        functools.partial(continuation, model, TEXT[:prompt_length], length)
        for prompt_length, length in sizes
    )
    assert first < others[0]
    assert len(set(others)) == 1


def test_other_settings_compile_nothing() -> None:
    """The numbers of the rules and the seed are data."""
    drawing = functools.partial(continuation, lively(Counter), TEXT[:3], 3, samples=2)
    choices = [
        (1.0, 2, 1.0, 0.1, 1.1, 9),
        (0.5, 3, 1.0, 0.2, 1.2, 8),
        (2.0, 0, 0.5, 0.9, 1.3, 7),
        (1.5, 1, 0.1, 0.3, 1.4, 1),
    ]
    first, *others = traces(
        functools.partial(drawing, sampling=SamplingConfig(*choice), seed=seed)
        for seed, choice in enumerate(choices)
    )
    assert first < others[0]
    assert len(set(others)) == 1


# The laws of chance.


def frequencies(
    sampling: SamplingConfig, seed: int = 0, allowed: NDArray | None = None
) -> NDArray:
    """How often each symbol is drawn from CHANCES."""
    made = continuation(
        known(),
        TEXT[:0],
        128,
        sampling=sampling,
        samples=ROWS,
        seed=seed,
        allowed=allowed,
    )
    return np.bincount(made.ravel(), minlength=V)


def assert_drawn_from(counts: NDArray, weights: NDArray) -> None:
    """Pearson's chi-square, at a level a right sampler passes 9999 times in 10000.

    The thresholds are those of the degrees of freedom 1 to 5.
    """
    possible = weights > 0
    assert not counts[~possible].any()
    expected = counts.sum() * weights[possible] / weights.sum()
    distance = ((counts[possible] - expected) ** 2 / expected).sum()
    assert distance < [15.2, 18.5, 21.2, 23.6, 25.8][possible.sum() - 2]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature(temperature: float, seed: int) -> None:
    """A symbol's chance is its own to the power of one over the temperature."""
    counts = frequencies(SamplingConfig(temperature), seed)
    assert_drawn_from(counts, CHANCES ** (1 / temperature))


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (SamplingConfig(1.0, top_k=1), 1),
        (SamplingConfig(1.0, top_k=3), 3),
        (SamplingConfig(1.0, top_k=V), V),
        (SamplingConfig(1.0, top_k=V + 9), V),
        (SamplingConfig(1.0, top_p=0.01), 1),
        (SamplingConfig(1.0, top_p=0.34), 1),
        (SamplingConfig(1.0, top_p=0.36), 2),
        (SamplingConfig(1.0, top_p=0.7), 3),
        (SamplingConfig(1.0, top_p=0.999), V),
        # Of three symbols the shares are .44, .31, .25.
        (SamplingConfig(1.0, top_k=3, top_p=0.7), 2),
        (SamplingConfig(1.0, top_k=3, top_p=0.8), 3),
        # Those of the squares are .48, .25, ..., of the square roots .26, .22, .19, ...
        (SamplingConfig(0.5, top_p=0.47), 1),
        (SamplingConfig(0.5, top_p=0.7), 2),
        (SamplingConfig(2.0, top_p=0.5), 3),
        (SamplingConfig(1.0, min_p=0.9), 1),
        (SamplingConfig(1.0, min_p=0.5), 3),
        (SamplingConfig(2.0, min_p=0.5), 4),
        (SamplingConfig(1.0, top_k=4, min_p=0.7), 2),
    ],
    ids=str,
)
def test_only_the_likely_are_drawn(sampling: SamplingConfig, kept: int) -> None:
    weights = CHANCES ** (1 / sampling.temperature)
    weights[kept:] = 0
    counts = frequencies(sampling)
    if kept == 1:
        assert counts[0] == counts.sum()
    else:
        assert_drawn_from(counts, weights)


@pytest.mark.parametrize(
    "sampling", [SamplingConfig(1.0), SamplingConfig(1.0, 2), SamplingConfig()]
)
def test_what_is_not_allowed_never_appears(sampling: SamplingConfig) -> None:
    """The others share its chance; and it takes no place among the top k."""
    allowed = np.array([False, True, True, False, True, True])
    counts = frequencies(sampling, allowed=allowed)
    weights = np.where(allowed, CHANCES, 0)
    if sampling.greedy:
        assert counts[1] == counts.sum()
    else:
        weights[3 if sampling.top_k else V :] = 0
        assert_drawn_from(counts, weights)


def test_a_greedy_text_leaves_nothing_to_chance() -> None:
    texts = [continuation(lively(), TEXT[:5], 20, seed=seed) for seed in range(3)]
    np.testing.assert_array_equal(texts[0], texts[1])
    np.testing.assert_array_equal(texts[0], texts[2])
    rows = continuation(lively(), TEXT[:5], 20, samples=3)
    np.testing.assert_array_equal(rows, np.repeat(texts[0], 3, axis=1))


def test_a_low_temperature_is_greedy() -> None:
    greedy = continuation(lively(), TEXT[:5], 20)
    for temperature in (1e-4, 1e-30, 1e-38, 1e-300):
        sampling = SamplingConfig(temperature)
        made = continuation(lively(), TEXT[:5], 20, sampling=sampling)
        np.testing.assert_array_equal(made, greedy)


def drawn(samples: int, seed: int) -> NDArray:
    return continuation(
        lively(), TEXT[:5], 70, sampling=SamplingConfig(1.0), samples=samples, seed=seed
    )


def test_a_seed_decides_every_draw() -> None:
    np.testing.assert_array_equal(drawn(3, seed=1), drawn(3, seed=1))
    assert (drawn(3, seed=1) != drawn(3, seed=2)).mean() > 0.2


def test_every_place_has_its_own_draw() -> None:
    """Also from one piece to the next: two draws from CHANCES differ in 76 %."""
    made = continuation(known(), TEXT[:0], 128, SamplingConfig(1.0), samples=ROWS)
    for distance in (1, 64):
        differ = made[distance:] != made[:-distance]
        assert abs(differ.mean() - (1 - (CHANCES**2).sum())) < 0.05


def test_samples_differ_but_not_with_their_number() -> None:
    few, many = drawn(3, seed=1), drawn(5, seed=1)
    np.testing.assert_array_equal(few, many[:, :3])
    for a in range(5):
        for b in range(a):
            assert (many[:, a] != many[:, b]).mean() > 0.2


# Repetition.


@pytest.mark.parametrize("window", [2, 100])
def test_a_penalty_by_hand(window: int) -> None:
    """Greedy, at a generated place: symbol after symbol by the full forward pass."""
    model, prompt, penalty = lively(), TEXT[:5], 3.0
    sampling = SamplingConfig(repetition_penalty=penalty, repetition_window=window)
    made = continuation(model, prompt, 70, sampling)[:, 0]
    text = np.concatenate([prompt, made])
    scores = full_scores(model, text)
    for place in range(len(prompt), len(text)):
        row = scores[place - 1].astype(np.float64)
        chances = row - np.log(np.exp(row).sum())
        said = np.unique(text[max(0, place - window) : place])
        chances[said] *= penalty
        assert chances[text[place]] > chances.max() - 1e-3
    assert (made != continuation(model, prompt, 70)[:, 0]).any()


# Snapshots.


def go_on(
    snapshot: DecoderState, length: int, sampling: SamplingConfig
) -> tuple[NDArray, DecoderState]:
    keys = sample_keys(3, len(snapshot.recent))
    pieces = list(generate_from(lively(), snapshot, length, sampling, keys))
    return np.concatenate([chunk.ids for chunk in pieces]), pieces[-1].after


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(),
        SamplingConfig(1.0),
        SamplingConfig(1.0, repetition_penalty=2.0),
    ],
    ids=["greedy", "drawn", "penalized"],
)
def test_going_on_from_a_snapshot_is_not_having_stopped(
    sampling: SamplingConfig,
) -> None:
    start = repeat_rows(read_prompt(lively(), TEXT[:7]), 2)
    whole, end = go_on(start, 150, sampling)
    first, middle = go_on(start, 90, sampling)
    second, other_end = go_on(middle, 60, sampling)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    jax.tree.map(np.testing.assert_array_equal, end, other_end)
    again, _ = go_on(middle, 60, sampling)  # a snapshot is not used up
    np.testing.assert_array_equal(again, second)


def test_reading_on_is_reading_all_at_once() -> None:
    model = lively()
    halves = read_prompt(model, TEXT[70:], read_prompt(model, TEXT[:70]))
    whole = read_prompt(model, TEXT)
    np.testing.assert_array_equal(halves.recent, whole.recent)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-5), halves, whole
    )
    assert (whole.recent[0, -len(TEXT) :] == TEXT).all() and len(TEXT) < MEMORY


def test_a_seed_of_its_own_for_every_row() -> None:
    model, sampling = lively(), SamplingConfig(1.0)
    start = repeat_rows(read_prompt(model, TEXT[:5]), 3)
    (chunk,) = generate_from(model, start, 40, sampling, row_keys([5, 6, 5]))
    for seed, row in zip((5, 6, 5), chunk.ids.T, strict=True):
        alone = continuation(model, TEXT[:5], 40, sampling, seed=seed)
        np.testing.assert_array_equal(row, alone[:, 0])


@pytest.mark.parametrize(
    "sampling",
    [SamplingConfig(), SamplingConfig(1.0, repetition_penalty=2.0)],
    ids=["greedy", "penalized"],
)
def test_rows_spread_over_devices_are_the_same(sampling: SamplingConfig) -> None:
    """Many rows lie on two devices, few on one; and so does what follows them."""
    model, prompt = lively(Looped), TEXT[:9]
    many = continuation(model, prompt, 100, sampling, samples=16)
    few = continuation(model, prompt, 100, sampling, samples=3)
    np.testing.assert_array_equal(many[:, :3], few)

    start = repeat_rows(read_prompt(model, prompt), 16)
    (chunk,) = generate_from(model, start, 40, sampling, sample_keys(0, 16))
    assert len(chunk.after.recent.sharding.device_set) == jax.device_count() == 2
    on = list(generate_from(model, chunk.after, 60, sampling, sample_keys(0, 16)))
    both = np.concatenate([chunk.ids, *(more.ids for more in on)])
    np.testing.assert_array_equal(both, many)

    read_on = read_prompt(model, TEXT[:5], chunk.after)
    alone = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), chunk.after)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-5),
        read_on,
        read_prompt(model, TEXT[:5], alone),
    )


@pytest.mark.parametrize(
    "sampling",
    [SamplingConfig(), SamplingConfig(1.0, top_p=0.9, no_repeat_ngram=3)],
    ids=["greedy", "drawn"],
)
def test_prompts_of_several_lengths_go_on_as_each_alone(
    sampling: SamplingConfig,
) -> None:
    model, prompts = lively(), [TEXT[:5], TEXT[:0], TEXT[20:110]]
    both = repeat_rows(read_prompts(model, prompts), 2)
    keys = jnp.tile(sample_keys(4, 2), len(prompts))
    (chunk,) = generate_from(model, both, 50, sampling, keys)
    for place, prompt in enumerate(prompts):
        alone = continuation(model, prompt, 50, sampling, samples=2, seed=4)
        np.testing.assert_array_equal(chunk.ids[:, 2 * place : 2 * place + 2], alone)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_run_of_symbols_comes_once(temperature: float, size: int) -> None:
    """From the first symbol of the prompt on, which is longer than a penalty's memory.

    Only where the six symbols leave no other way does one come again.
    """
    prompt = np.repeat(TEXT[:2], 150)  # of few runs
    sampling = SamplingConfig(temperature, no_repeat_ngram=size)
    count = {1: 4, 2: 20, 4: 150}[size]
    made = continuation(known(), prompt, count, sampling)[:, 0]
    text = [*prompt.tolist(), *made.tolist()]
    runs = [tuple(text[k : k + size]) for k in range(len(text) - size + 1)]
    fresh = runs[len(prompt) - size + 1 :]
    assert len(set(fresh)) == len(fresh)
    assert not set(fresh) & set(runs[: len(prompt) - size + 1])


@pytest.mark.parametrize("symbols", [1, 256, 257, 1000])
def test_a_rule_about_runs_remembers_all_of_a_text(symbols: int) -> None:
    memory = memory_for(SamplingConfig(no_repeat_ngram=2), symbols)
    assert symbols <= memory < max(2 * symbols, 257)
    assert memory_for(SamplingConfig(), symbols) == MEMORY


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 1, 9], "expected ids from 0 to 5, found 9"),
        ([0, -1], "expected ids from 0 to 5, found -1"),
        ([6], "expected ids from 0 to 5, found 6"),
        ([0.0, 1.0], "expected whole numbers, found float64"),
        ([True, False], "expected whole numbers, found bool"),
        (["a"], "expected whole numbers, found <U1"),
        ([[0, 1, 2]], "expected ids [N], found [1, 3]"),
        (3, "expected ids [N], found []"),
        ([[0], [1, 2]], "expected ids [N], found [[0], [1, 2]]"),
        ([2**40], "expected ids from 0 to 5, found 1099511627776"),
    ],
)
def test_ids_that_are_none_are_refused(ids: Any, message: str) -> None:  # noqa: ANN401
    """In one line, and at the call."""
    calls: list[Callable[[], object]] = [
        lambda: generate_ids(lively(), ids, 4),
        lambda: read_prompt(lively(), ids),
        lambda: read_prompts(lively(), [[0], ids]),
        lambda: score_ids(lively(), ids),
        lambda: score_ids(lively(), [1], ids),
        lambda: search_ids(lively(), ids, 3, width=2),
        lambda: search_ids(lively(), [], 3, width=2, stops=[ids]),
    ]
    for call in calls:
        with pytest.raises(InputError) as refused:
            call()
        assert str(refused.value).endswith(message) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"length": -1}, "length: expected 0 or more, found -1"),
        ({"samples": 0}, "samples: expected 1 or more, found 0"),
        (
            {"allowed": np.ones(1, bool)},
            r"allowed: expected bool \[6\], found bool \[1\]",
        ),
        ({"allowed": np.zeros(6, bool)}, "allowed: expected at least one symbol"),
        ({"sampling": SamplingConfig(-1.0)}, "--temperature: expected a number"),
        ({"seed": -1}, "seed: expected 0 to 9223372036854775807, found -1"),
        ({"seed": 2**63}, "seed: expected 0 to 9223372036854775807, found 9223"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(given: dict, message: str) -> None:
    options: dict[str, Any] = {"prompt": [0], "length": 3, **given}
    with pytest.raises(InputError, match=message):
        generate_ids(lively(), **options)


def test_every_bit_of_a_seed_matters() -> None:
    """And below 2^32 it is the seed that it always was, with float64 and without."""
    seeds = [0, 7, 2**31, 2**32 - 1, 2**32, 2**32 + 7, 2**33, 2**62, 2**63 - 1]
    found = [jax.random.key_data(seed_key(seed)).tolist() for seed in seeds]
    assert len({tuple(data) for data in found}) == len(seeds)
    for seed, data in zip(seeds[:4], found, strict=False):
        assert data == jax.random.key_data(jax.random.key(seed)).tolist()
    with jax.enable_x64(True):
        again = [jax.random.key_data(seed_key(seed)).tolist() for seed in seeds]
    assert again == found
    texts = [drawn(1, seed).tobytes() for seed in (0, 2**32, 2**33)]
    assert len(set(texts)) == 3
