"""Files from a stranger: every one is read or refused in one line, whatever is in it.

Nothing raises anything but InputError, takes seconds, or makes room for what is not
there. Structures are mutated, not only bytes, and get a right checksum, so that the
code behind the checksum is reached.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.results import read_result
from lstm_jax.data.folds import block_folds
from lstm_jax.data.memmap import read_ids
from lstm_jax.data.tokenizers.characters import CharTokenizer, load_vocab, save_vocab
from lstm_jax.errors import InputError
from lstm_jax.lm.config import TrainConfig, load_config, save_config
from lstm_jax.lm.crossval_plan import CrossvalPlan, keep_plan, read_plan
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.models.saved import ModelSpec, load_model, save_model
from lstm_jax.storage.arrays import Stored
from lstm_jax.storage.checkpoints import Checkpoints
from lstm_jax.storage.files import seal
from lstm_jax.storage.safetensors import parts_of, read_arrays
from lstm_jax.training.cross_validation import FoldOutcome, cross_validate
from lstm_jax.training.history import best_validation, overfitting_began, waited
from lstm_jax.training.states import resume_state
from tests.helpers.memory import peak, peak_from_now_on
from tests.helpers.tiny_checkpoints import RECORD, STEP, random_state, saved

CASES = [100, pytest.param(2500, marks=pytest.mark.slow)]
MEGABYTES = 300  # that all the cases of a test may add to what is in use at the most

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, 10**30, -1, 0, 1])
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["../../x", "/dev/zero", "\0", "char", "float32", "sha256"])
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)
some_bytes = st.binary(max_size=300) | st.sampled_from(
    [
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b"1" * 5_000,
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"1e999",
    ]
)


@st.composite
def mutated(draw: st.DrawFn, record: Any) -> Any:  # noqa: ANN401
    """A JSON value with one place in it removed, renamed, or replaced."""
    if (
        not isinstance(record, dict | list)
        or not record
        or draw(st.integers(0, 4)) == 0
    ):
        return draw(anything)
    copy = json.loads(json.dumps(record))
    place = draw(
        st.sampled_from(sorted(copy))
        if isinstance(copy, dict)
        else st.integers(0, len(copy) - 1)
    )
    how = draw(st.sampled_from(["inside", "inside", "inside", "remove", "add"]))
    if how == "remove":
        del copy[place]
    elif how == "inside":
        copy[place] = draw(mutated(copy[place]))
    elif isinstance(copy, dict):
        copy[draw(st.text(max_size=6))] = draw(anything)
    else:
        copy.insert(place, draw(anything))
    return copy


@st.composite
def json_bytes(draw: st.DrawFn, record: Any) -> bytes:  # noqa: ANN401
    """Bytes of a file that holds something like this, or nothing of the kind."""
    if draw(st.integers(0, 3)) == 0:
        return draw(some_bytes)
    value = draw(mutated(record))
    if isinstance(value, dict) and draw(st.booleans()):
        value = seal({name: of for name, of in value.items() if name != "sha256"})
    return json.dumps(value).encode()


@st.composite
def damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """Bytes of a file with some of them cut off, changed, or put in."""
    start = draw(st.integers(0, len(raw)))
    end = draw(st.integers(start, min(len(raw), start + 40)))
    return raw[:start] + draw(st.binary(max_size=8)) + raw[end:]


def survives(
    read: Callable[[], object],
    write: Callable[[bytes], object],
    cases: int,
    raws: st.SearchStrategy[bytes],
) -> None:
    """Whatever is written, reading it ends well, or with one line."""
    before = peak_from_now_on()

    @settings(
        max_examples=cases,
        deadline=20_000,  # milliseconds
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(raws)
    def one(raw: bytes) -> None:
        write(raw)
        try:
            read()
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 2_000

    one()
    assert peak() - before < MEGABYTES * 2**20


@pytest.mark.parametrize("cases", CASES)
def test_configurations(cases: int, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    save_config(TrainConfig(), path)
    raws = json_bytes(json.loads(path.read_bytes()))
    survives(lambda: load_config(path), path.write_bytes, cases, raws)


@pytest.mark.parametrize("cases", CASES)
def test_vocabularies(cases: int, tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    save_vocab(CharTokenizer("char", "ab\ud800\0"), path)
    raws = json_bytes(json.loads(path.read_bytes()))
    survives(lambda: len(load_vocab(path)), path.write_bytes, cases, raws)


@pytest.mark.parametrize("cases", CASES)
def test_histories(cases: int, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    line = {"step": 3, "val_loss": 1.0, "train_eval_loss": 0.5, "ended": None}

    def read() -> None:
        lines = run.history.read()
        best_validation(lines), waited(lines, 0.1), overfitting_began(lines)

    raws = st.lists(json_bytes(line), max_size=4).map(b"\n".join)
    survives(read, (tmp_path / "metrics.jsonl").write_bytes, cases, raws)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one checkpoint."""
    folder = tmp_path_factory.mktemp("kept") / "checkpoints"
    saved(folder, (random_state(), RECORD)).close()
    return folder


@pytest.mark.parametrize("cases", CASES)
def test_records_of_checkpoints(cases: int, kept: Path) -> None:
    like = jax.eval_shape(random_state)
    file = kept / str(STEP) / "record.json"
    good = file.read_bytes()
    with Checkpoints(kept) as checkpoints:

        def read() -> None:
            checkpoints.record(STEP)
            checkpoints.load_model(STEP, like.model)

        try:
            survives(read, file.write_bytes, cases, json_bytes(json.loads(good)))
        finally:
            file.write_bytes(good)


@pytest.mark.parametrize("cases", CASES)
def test_safetensors(cases: int, tmp_path: Path) -> None:
    """Without the checksum before it, which a stranger can make right."""
    arrays = {"w": np.ones((2, 3), np.float32), "b": np.ones(3, np.int32)}
    wanted = {name: Stored(a.dtype.name, a.shape) for name, a in arrays.items()}
    raw = b"".join(map(bytes, parts_of(arrays)))
    length = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]

    def with_header(text: bytes) -> bytes:
        return len(text).to_bytes(8, "little") + text + data

    path = tmp_path / "model.safetensors"

    def read() -> None:
        try:
            with open(path, "rb") as file:
                read_arrays(file, wanted)
        except (ValueError, RecursionError) as error:  # what Checkpoints catches
            raise InputError(str(error)) from None

    raws = damaged(raw) | json_bytes(header).map(with_header)
    survives(read, path.write_bytes, cases, raws)


@pytest.mark.parametrize("cases", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_arrays_of_checkpoints(cases: int, kept: Path) -> None:
    like = jax.eval_shape(random_state)
    files = sorted(p for p in kept.rglob("*") if p.is_file())
    goods = [file.read_bytes() for file in files]
    which = st.integers(0, len(files) - 1)
    raws = which.flatmap(
        lambda n: damaged(goods[n]).map(lambda raw: n.to_bytes(2) + raw)
    )

    def write(raw: bytes) -> None:
        for file, good in zip(files, goods, strict=True):
            file.write_bytes(good)
        files[int.from_bytes(raw[:2])].write_bytes(raw[2:])

    def read() -> None:
        with Checkpoints(kept) as checkpoints:
            resume_state(checkpoints, like)

    try:
        survives(read, write, cases, raws)
    finally:
        write((0).to_bytes(2) + goods[0])


def archive(descr: str, shape: str, raw: bytes, method: int, name: str) -> bytes:
    """An .npz whose array claims to be of some type and shape."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as kept:
        kept.writestr(name, start + header.encode() + raw)
    return file.getvalue()


archives = st.builds(
    archive,
    st.sampled_from(["'<f4'", "'|O'", "'<f8'", "[('a', '<f4')]", "'<U99999999'", "1"]),
    st.sampled_from(["(2, 3)", "(10**9,)", "(1000000000,)", "()", "(-1,)", "(2.5,)"]),
    st.sampled_from([b"", bytes(24), bytes(10**6)]),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]),
    st.sampled_from(["w.npy", "w", "../w.npy", "/etc/w.npy"]),
)


@pytest.mark.parametrize("cases", CASES)
def test_models_of_applications(cases: int, tmp_path: Path) -> None:
    sizes = {"features": 3, "symbols": 4, "hidden": 2, "layers": 1, "dropout": 0.5}
    spec = ModelSpec("ctc", sizes)
    save_model(tmp_path, "speech", spec, spec.build(jax.random.key(0)), {"a": 1})
    path = tmp_path / "config.json"
    good = json.loads(path.read_bytes())
    assert load_model(tmp_path).spec == spec

    def write(raw: bytes) -> None:
        path.write_bytes(raw)

    survives(lambda: load_model(tmp_path), write, cases // 2, json_bytes(good))
    begin = b'{"format": 1, "application": "x", "model": '
    raws = json_bytes(good["model"]).map(lambda raw: begin + raw + b"}")
    survives(lambda: load_model(tmp_path), write, cases // 2, raws)


@pytest.mark.parametrize("cases", CASES)
def test_outcomes_of_folds_and_results(cases: int, tmp_path: Path) -> None:
    folds = block_folds(4, 2)
    answers = [FoldOutcome({"a": 0.5}, {"p": np.zeros(2, np.float32)})] * 2
    cross_validate(lambda train, test, k: answers[k], folds, tmp_path)
    path = tmp_path / "fold-1.json"
    good = json.loads(path.read_bytes())

    def read() -> None:
        try:
            cross_validate(lambda train, test, k: answers[k], folds, tmp_path)
        except InputError:
            raise
        except ValueError:  # the other fold has other names
            pass

    survives(read, path.write_bytes, cases, json_bytes(good))
    keep_plan(tmp_path, CrossvalPlan(TrainConfig(), 2, (0,), False, "0"))
    path = tmp_path / "crossval-plan.json"
    good = json.loads(path.read_bytes())
    survives(lambda: read_plan(tmp_path), path.write_bytes, cases, json_bytes(good))
    survives(
        lambda: read_result(tmp_path),
        (tmp_path / "result.json").write_bytes,
        cases // 5,
        json_bytes({"task": "x"}),
    )


@pytest.mark.parametrize("cases", CASES)
def test_encoded_texts(cases: int, tmp_path: Path) -> None:
    path = tmp_path / "corpus.npy"
    np.save(path, np.arange(9, dtype=np.uint8))
    plain = path.read_bytes()
    claims = archives.map(lambda raw: raw[raw.find(b"\x93") :])  # headers that lie
    raws = damaged(plain) | claims | archives | some_bytes
    survives(lambda: read_ids(path, 9), path.write_bytes, cases, raws)
