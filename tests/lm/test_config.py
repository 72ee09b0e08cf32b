"""Settings: what is refused, and that `config.json` gives back what was written."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.config import ClusterConfig, RegularizerConfig, RunConfig
from lstm_jax.errors import InputError
from lstm_jax.lm.config import (
    HELLO_WORLD,
    HELLO_WORLD_TEXT,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    check,
    load_config,
    save_config,
)
from lstm_jax.lm.sizing import fit_to

DEFAULT = TrainConfig()
# No field has its default: one that is not written, or not read, is seen.
UNUSUAL = TrainConfig(
    text=DataConfig(
        data=(Path("a b.txt"), Path("/abs/ü.gz")),
        vocab="bpe",
        vocab_size=300,
        validation_fraction=0.3,
    ),
    model=ModelConfig(
        layers=3,
        cell="peephole",
        hidden=7,
        dropout=0.25,
        precision="bfloat16",
        engine="scan",
        remat=True,
        mogrifier=4,
        top_only=True,
        tie_embedding=True,
        capped_gate=True,
    ),
    optimizer=OptimizerConfig(
        batch=5,
        length=9,
        learning_rate=0.1,
        warmup=0.5,
        final_rate=0.125,
        beta2=0.9,
        weight_decay=1.5,
        clip_norm=2.5,
        reset_probability=0.75,
        ema=0.875,
    ),
    regularizer=RegularizerConfig(
        variational=True,
        input_dropout=0.1,
        weight_drop=0.2,
        recurrent_dropout=0.3,
        zoneout_hidden=0.4,
        zoneout_cell=0.5,
        label_smoothing=0.6,
        training_temperature=0.65,
        l1=0.7,
        l2=0.8,
        activation_penalty=0.9,
        temporal_penalty=1.1,
    ),
    run=RunConfig(
        run_dir=Path("runs/x"),
        epochs=4,
        max_seconds=12.5,
        seed=2**40,
        evaluations=6,
        patience=3,
        min_improvement=0.25,
        tensorboard=True,
        steps_per_call=8,
        devices="all",
        shard_model=True,
        checkpoint_seconds=7.5,
        checkpoint_steps=11,
        on_nan="backoff",
        resume=True,
        overwrite=True,
    ),
    cluster=ClusterConfig(coordinator="node:1234", processes=3, process=2),
    preset="shakespeare-3min",
)
SECTIONS = tuple(
    field.name
    for field in dataclasses.fields(TrainConfig)
    if dataclasses.is_dataclass(getattr(DEFAULT, field.name))
)


def with_field(
    section: str, name: str, value: object, config: TrainConfig = DEFAULT
) -> TrainConfig:
    """The settings with one field changed."""
    part = dataclasses.replace(getattr(config, section), **{name: value})
    return dataclasses.replace(config, **{section: part})


# Two sets that make sense: a Mogrifier and capped gates are variants of the LSTM.
PEEPHOLES = with_field("model", "mogrifier", 0, UNUSUAL)
PEEPHOLES = with_field("model", "capped_gate", False, PEEPHOLES)
VARIANT = with_field("model", "mogrifier", 4)
VARIANT = with_field("model", "capped_gate", True, VARIANT)


def section_of(name: str) -> str:
    """The section a field stands in."""
    return next(
        section
        for section in SECTIONS
        if name in {f.name for f in dataclasses.fields(getattr(UNUSUAL, section))}
    )


def write_record(path: Path, record: object) -> Path:
    """A `config.json` with this in it."""
    path = path / "config.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def record_of(config: TrainConfig, path: Path) -> dict[str, Any]:
    """What `save_config` writes, as JSON has it, without its checksum."""
    save_config(config, path / "saved.json")
    record = json.loads((path / "saved.json").read_text(encoding="utf-8"))
    del record["sha256"]
    return record


def test_unusual_differs_from_the_default_in_every_field() -> None:
    assert DEFAULT.preset != UNUSUAL.preset
    for section in SECTIONS:
        before, after = getattr(DEFAULT, section), getattr(UNUSUAL, section)
        for field in dataclasses.fields(before):
            assert getattr(before, field.name) != getattr(after, field.name), field.name


@pytest.mark.parametrize(
    "config",
    [
        DEFAULT,
        HELLO_WORLD,
        # Both at once would be refused: the one is read back here, the other there.
        with_field("run", "resume", False, PEEPHOLES),
        with_field("run", "overwrite", False, PEEPHOLES),
        VARIANT,
    ],
    ids=["default", "hello", "overwrite", "resume", "other cell"],
)
def test_written_and_read_is_the_same(config: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    save_config(config, path)
    assert load_config(path) == config


def test_a_whole_number_is_read_where_a_real_one_is_expected(tmp_path: Path) -> None:
    record = record_of(DEFAULT, tmp_path)
    record["run"]["max_seconds"] = 30
    seconds = load_config(write_record(tmp_path, record)).run.max_seconds
    assert seconds == 30.0 and type(seconds) is float


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a configuration.*found no file"):
        load_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"not JSON", b"\xff\xfe\x00", b'{"text": {"data": []}']
)
def test_damaged_json_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^expected .*found a damaged file") as raised:
        load_config(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("record", [[], "text", 3, None, True])
def test_json_that_is_no_object_is_refused(record: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found a damaged file: no JSON object but"):
        load_config(write_record(tmp_path, record))


@pytest.mark.parametrize(
    "section", ["", "text", "model", "optimizer", "regularizer", "run"]
)
def test_unknown_keys_are_refused(section: str, tmp_path: Path) -> None:
    record = record_of(DEFAULT, tmp_path)
    part = record[section] if section else record
    valid = sorted(part.keys() - {"format"})
    part["hiden"] = 1
    found = sorted(part.keys() - {"format"})
    with pytest.raises(InputError) as raised:
        load_config(write_record(tmp_path, record))
    message = str(raised.value)
    assert message.endswith(f"expected {valid}, found {found!r:.200}")
    assert f"config.json: {section}".rstrip(" :") in message


@pytest.mark.parametrize(
    "section", ["text", "model", "optimizer", "regularizer", "run"]
)
def test_a_setting_newer_than_the_file_has_its_default(
    section: str, tmp_path: Path
) -> None:
    """Runs that were begun before there was such a setting can be used for ever."""
    config = with_field("run", "resume", False, PEEPHOLES)
    record = record_of(config, tmp_path)
    for name in list(record[section]):
        shorter = json.loads(json.dumps(record))
        del shorter[section][name]
        default = getattr(getattr(DEFAULT, section), name)
        if section_of(name) == "run" and name == "overwrite":
            default = False
        expected = with_field(section, name, default, config)
        try:
            check(expected)
        except InputError:
            continue  # refused for another reason: patience without evaluations
        assert load_config(write_record(tmp_path, shorter)) == expected
    del record[section], record["format"]  # the first ones had no number
    found = load_config(write_record(tmp_path, record))
    assert getattr(found, section) == getattr(DEFAULT, section)


def test_a_setting_is_read_by_the_name_older_runs_have(tmp_path: Path) -> None:
    record = record_of(with_field("optimizer", "ema", 0.75, DEFAULT), tmp_path)
    record["optimizer"]["average"] = record["optimizer"].pop("ema")
    assert load_config(write_record(tmp_path, record)).optimizer.ema == 0.75


def test_a_preset_is_read_where_older_runs_have_it(tmp_path: Path) -> None:
    """It was once a setting of the section "run"."""
    record = record_of(with_field("run", "resume", False, PEEPHOLES), tmp_path)
    record["run"]["preset"] = record.pop("preset")
    assert load_config(write_record(tmp_path, record)).preset == "shakespeare-3min"
    record["run"]["preset"] = "iliad"
    with pytest.raises(InputError, match=r"config\.json: preset: expected .*'iliad'"):
        load_config(write_record(tmp_path, record))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    record = record_of(DEFAULT, tmp_path) | {"format": 2}
    with pytest.raises(InputError, match="expected format 1, found 2"):
        load_config(write_record(tmp_path, record))


def test_a_changed_digit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    save_config(DEFAULT, path)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"learning_rate": 0.004', b'"learning_rate": 0.005'))
    assert path.read_bytes() != raw
    with pytest.raises(
        InputError, match=r"config\.json, found a damaged file: its sha"
    ):
        load_config(path)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("data", "one.txt", "Path"),
        ("data", [1], "Path"),
        ("vocab", 5, "str"),
        ("validation_fraction", "0.1", "float"),
        ("layers", 1.0, "int"),
        ("layers", True, "int"),
        ("hidden", "256", "int"),
        ("dropout", True, "float"),
        ("precision", "float16", "bfloat16"),
        ("engine", ["scan"], "fused"),
        ("learning_rate", None, "float"),
        ("run_dir", 5, "Path"),
        ("epochs", 2.5, "int"),
        ("max_seconds", "1", "float"),
        ("resume", 1, "bool"),
    ],
)
def test_a_value_of_another_type_is_refused(
    name: str, value: object, expected: str, tmp_path: Path
) -> None:
    record = record_of(DEFAULT, tmp_path)
    section = section_of(name)
    record[section][name] = value
    with pytest.raises(InputError) as raised:
        load_config(write_record(tmp_path, record))
    where, _, complaint = str(raised.value).partition(": expected ")
    assert where.endswith(f"config.json: {section}: {name}")
    wanted, _, found = complaint.partition(", found ")
    assert expected in wanted
    assert found in (repr(value), "1")  # of a list, the item that is no path


def test_a_number_no_float_can_hold_is_refused(tmp_path: Path) -> None:
    record = record_of(DEFAULT, tmp_path)
    record["optimizer"]["learning_rate"] = 10**400
    with pytest.raises(InputError, match="learning_rate"):
        load_config(write_record(tmp_path, record))


@pytest.mark.parametrize(
    ("name", "value"), [("hidden", 0), ("dropout", 1.5), ("learning_rate", math.nan)]
)
def test_a_file_with_nonsense_in_it_is_refused(
    name: str, value: object, tmp_path: Path
) -> None:
    save_config(with_field(section_of(name), name, value), tmp_path / "config.json")
    flag = "--" + name.replace("_", "-")
    with pytest.raises(InputError, match=f"{flag}: expected .*, found {value}"):
        load_config(tmp_path / "config.json")


COUNTS = (
    "vocab_size",
    "layers",
    "hidden",
    "batch",
    "length",
    "epochs",
    "steps_per_call",
    "devices",
)
COUNTS += ("patience", "checkpoint_steps")
AT_LEAST_ZERO = ("clip_norm", "weight_decay", "min_improvement", "l1", "l2")
AT_LEAST_ZERO += ("activation_penalty", "temporal_penalty")
SHARES_BELOW_ONE = (
    "ema",
    "dropout",
    "validation_fraction",
    "beta2",
    "reset_probability",
)
SHARES_BELOW_ONE += ("input_dropout", "weight_drop", "recurrent_dropout")
SHARES_BELOW_ONE += ("zoneout_hidden", "zoneout_cell", "label_smoothing")
POSITIVE = ("learning_rate", "max_seconds", "checkpoint_seconds")
POSITIVE += ("training_temperature",)
SHARES = ("warmup", "final_rate")
OUTSIDE: list[tuple[str, float]] = [
    *((name, bad) for name in COUNTS for bad in (0, -3, 2**31)),
    *(("layers", 1001), ("hidden", 2**20 + 1), ("evaluations", 2**31)),
    *((n, bad) for n in SHARES_BELOW_ONE for bad in (-0.1, 1.0, 2.0, math.nan)),
    *((name, bad) for name in POSITIVE for bad in (0.0, -1.0, math.inf, math.nan)),
    *((name, bad) for name in SHARES for bad in (-0.1, 1.1, math.nan)),
    *((name, bad) for name in AT_LEAST_ZERO for bad in (-0.1, math.inf, math.nan)),
    ("evaluations", -1),
    ("mogrifier", -1),
    ("mogrifier", 101),
    ("seed", -1),
    ("seed", 2**63),
]
INSIDE: list[tuple[str, float]] = [
    *((name, 1) for name in COUNTS),
    *((name, good) for name in SHARES_BELOW_ONE for good in (0.0, 0.999)),
    *((name, 1e-9) for name in POSITIVE),
    *((name, good) for name in SHARES for good in (0.0, 1.0)),
    *((name, 0.0) for name in AT_LEAST_ZERO),
    ("evaluations", 0),
    ("mogrifier", 0),
    ("mogrifier", 100),
    ("seed", 0),
    ("seed", 2**63 - 1),
]


@pytest.mark.parametrize(("name", "value"), OUTSIDE)
def test_a_value_out_of_bounds_is_refused(name: str, value: float) -> None:
    flag = "--" + name.replace("_", "-")
    with pytest.raises(InputError) as raised:
        check(with_field(section_of(name), name, value))
    message = str(raised.value)
    assert message.startswith(f"{flag}: expected ")
    assert message.endswith(f", found {value}") and "\n" not in message


@pytest.mark.parametrize(("name", "value"), INSIDE)
def test_the_bounds_themselves_are_allowed(name: str, value: float) -> None:
    config = with_field("text", "vocab", "bpe") if name == "vocab_size" else DEFAULT
    check(with_field(section_of(name), name, value, config))


def test_every_number_has_bounds() -> None:
    """Those of a cluster depend on each other, and `devices` may be a word."""
    numbers = {
        field.name
        for section in SECTIONS
        for field in dataclasses.fields(getattr(UNUSUAL, section))
        if type(getattr(getattr(UNUSUAL, section), field.name)) in (int, float)
        and section != "cluster"
    } | {"devices"}
    assert numbers == {name for name, _ in OUTSIDE} == {name for name, _ in INSIDE}


@pytest.mark.parametrize("variant", ["mogrifier", "capped_gate"])
def test_variants_of_the_lstm_are_of_the_lstm(variant: str) -> None:
    config = with_field("model", variant, 2 if variant == "mogrifier" else True)
    check(config)
    flag = "--" + variant.replace("_", "-")
    for cell in ("gru", "peephole", "mogrifier"):
        check(with_field("model", "cell", cell))
        with pytest.raises(
            InputError, match=f"^{flag}: expected --cell lstm.* {cell}$"
        ):
            check(with_field("model", "cell", cell, config))


def test_a_gru_has_no_cell_state_to_hold() -> None:
    config = with_field("model", "cell", "gru")
    check(with_field("regularizer", "zoneout_hidden", 0.1, config))
    with pytest.raises(InputError, match=r"^--zoneout-cell: expected .* found gru$"):
        check(with_field("regularizer", "zoneout_cell", 0.1, config))


def test_resume_and_overwrite_exclude_each_other() -> None:
    with pytest.raises(InputError, match="expected --resume or --overwrite"):
        check(PEEPHOLES)


@pytest.mark.parametrize(
    ("section", "name"), [("run", "evaluations"), ("text", "validation_fraction")]
)
def test_patience_needs_validations(section: str, name: str) -> None:
    patient = with_field("run", "patience", 2)
    check(patient)
    with pytest.raises(InputError, match="--patience: expected"):
        check(with_field(section, name, 0, patient))


def test_every_class_is_frozen() -> None:
    for part in (DEFAULT, *(getattr(DEFAULT, section) for section in SECTIONS)):
        name = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, None)


def test_hello_world_is_the_chapter() -> None:
    check(HELLO_WORLD)
    assert HELLO_WORLD_TEXT == "hello world"
    model, optimizer, run = HELLO_WORLD.model, HELLO_WORLD.optimizer, HELLO_WORLD.run
    assert (model.layers, model.hidden, model.dropout) == (1, 50, 0.0)
    # With auto its text would have the engine native compiled, which takes longer.
    assert model.engine == "fused"
    assert (optimizer.length, run.epochs) == (3, 200)
    # Plain Adam, at a constant rate, on the whole text.
    assert (optimizer.learning_rate, optimizer.beta2) == (1e-3, 0.999)
    assert (optimizer.weight_decay, optimizer.warmup, optimizer.final_rate) == (0, 0, 1)
    assert HELLO_WORLD.text == DataConfig(data=(), validation_fraction=0.0)


@given(
    batch=st.integers(1, 300),
    length=st.integers(1, 300),
    transitions=st.integers(1, 100_000),
)
def test_fit_to_shrinks_for_a_short_text_only(
    batch: int, length: int, transitions: int
) -> None:
    wanted = dataclasses.replace(UNUSUAL.optimizer, batch=batch, length=length)
    config = dataclasses.replace(UNUSUAL, optimizer=wanted)
    fitted = fit_to(config, transitions)
    found = fitted.optimizer
    # One step of the result reads no transition twice, and both stay usable.
    assert 1 <= found.length <= length and 1 <= found.batch <= batch
    assert found.batch * found.length <= transitions
    if batch * length <= transitions:
        assert fitted == config
    # The length is kept as long as it can be, then as many rows as there is text for.
    assert found.length == length or found.length == transitions
    assert found.batch == batch or (found.batch + 1) * found.length > transitions
    # Nothing else changes.
    restored = dataclasses.replace(found, batch=batch, length=length)
    assert dataclasses.replace(fitted, optimizer=restored) == config


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (ClusterConfig(None, 2, 0), "--coordinator: expected HOST:PORT or auto, found"),
        (ClusterConfig("node", 2, 0), "--coordinator: expected HOST:PORT .*found node"),
        (ClusterConfig("node:x", 2, 0), "--coordinator: expected HOST:PORT"),
        (ClusterConfig("node:70000", 2, 0), "--coordinator: expected HOST:PORT"),
        (ClusterConfig("node:1", None, 0), "--processes: expected their number"),
        (ClusterConfig("node:1", 2, None), "--process: expected which one this is"),
        (ClusterConfig("node:1", 0, 0), "--processes: expected 1 or more, found 0"),
        (ClusterConfig("node:1", 2, 2), "--process: expected 0 to 1, found 2"),
        (ClusterConfig("auto", None, -1), "--process: expected 0 to .*found -1"),
    ],
)
def test_a_cluster_without_sense_is_refused(
    cluster: ClusterConfig, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check(dataclasses.replace(TrainConfig(), cluster=cluster))


def test_devices_are_a_multiple_of_the_processes() -> None:
    cluster = ClusterConfig("node:1", 2, 1)
    run = RunConfig(devices=3)
    with pytest.raises(InputError, match="--devices: expected a multiple of 2"):
        check(TrainConfig(cluster=cluster, run=run))
    check(TrainConfig(cluster=cluster, run=RunConfig(devices=4)))
