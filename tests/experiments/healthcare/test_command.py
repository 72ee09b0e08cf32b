"""Networks of the risk: they learn, come back from disk, and are used on own files."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from experiments.healthcare import __main__ as healthcare
from experiments.healthcare import baseline
from experiments.healthcare.baseline import floors
from experiments.healthcare.config import RiskConfig
from experiments.healthcare.data import FIXED, VARIABLES, Data, generated
from experiments.healthcare.task import (
    RiskModel,
    forecast,
    load_risk,
    predict_risk,
    risk_steps,
    train_risk,
)
from experiments.known_data import BENCHMARKS, described
from experiments.results import DataFile
from lstm_jax.config import RunConfig
from lstm_jax.errors import InputError
from tests.experiments.healthcare.test_data import until

DATA = generated(120)
DIED = DATA.died()
TRAIN, TEST = np.arange(80), np.arange(80, 120)
RECIPE = dataclasses.replace(RiskConfig(), **healthcare.SMOKE)
RUN = RunConfig(epochs=12, steps_per_call=10)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def risk(run_dir: Path) -> RiskModel:
    return train_risk(
        DATA.stays.pick(TRAIN),
        DIED[TRAIN],
        RECIPE,
        RUN,
        compiled=risk_steps(RECIPE),
        folder=run_dir,
    )


def write(folder: Path, data: Data, chosen: np.ndarray) -> list[str]:
    """Some stays as the user's own files, one each, and their outcomes."""
    folder.mkdir()
    table, paths = ["RecordID,In-hospital_death"], []
    for k in chosen:
        name, stay = data.stays.names[k], data.stays.pick(np.array([k]))
        lines = ["Time,Parameter,Value", f"00:00,RecordID,{name}"]
        lines += [
            f"00:00,{parameter},{-1 if np.isnan(value) else value}"
            for parameter, value in zip(FIXED, stay.fixed[0], strict=True)
        ]
        for hour, variable, value in zip(
            stay.hours, stay.variables, stay.values, strict=True
        ):
            clock = f"{int(hour)}:{round(hour % 1 * 60):02}"
            lines.append(f"{clock},{VARIABLES[variable]},{value}")
        paths.append(folder / f"{name}.txt")
        paths[-1].write_text("\n".join(lines))
        table.append(f"{name},{int(data.outcomes.died[name])}")
    (folder / "outcomes.csv").write_text("\n".join(table))
    return [*map(str, paths)]


def test_it_learns_who_is_in_danger_and_the_risk_grows_with_time(
    risk: RiskModel,
) -> None:
    found = predict_risk(risk, DATA.stays.pick(TEST))
    assert found.shape == (40, 6)
    early, late = (roc_auc_score(DIED[TEST], found[:, k]) for k in (0, 5))
    assert late > 0.95 and late > early
    dying = found[DIED[TEST]].mean(axis=0)
    assert dying[5] > dying[0] + 0.1


def test_a_risk_does_not_depend_on_the_company_or_on_what_comes_later(
    risk: RiskModel,
) -> None:
    stays = DATA.stays.pick(TEST)
    together = predict_risk(risk, stays)
    alone = predict_risk(risk, stays.pick(np.array([3])))
    np.testing.assert_allclose(together[3], alone[0], atol=1e-6)
    found = predict_risk(risk, until(stays, 24))
    np.testing.assert_allclose(found[:, :3], together[:, :3], atol=1e-6)
    assert np.abs(found[:, 3:] - together[:, 3:]).max() > 0.01
    assert forecast(risk.models, np.zeros((0, 6, 120), np.float32)).shape == (0, 6)


def test_scales_are_of_the_stays_it_learned_from(risk: RiskModel) -> None:
    pulse = VARIABLES.index("HR")
    of_training = DATA.stays.pick(TRAIN)
    values = of_training.values[of_training.variables == pulse]
    scale = risk.preparation.signals
    assert values.min() <= scale.low[pulse] < scale.high[pulse] <= values.max()
    assert scale.mean[pulse] == pytest.approx(values.mean(), abs=1)


def test_it_comes_back_with_scales_and_threshold(
    risk: RiskModel, run_dir: Path
) -> None:
    again, stays = load_risk(run_dir), DATA.stays.pick(TEST)
    assert again.threshold == risk.threshold is not None
    found = predict_risk(again, stays)
    np.testing.assert_array_equal(found, predict_risk(risk, stays))


def test_own_files_are_scored_and_foretold(
    risk: RiskModel,
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = write(tmp_path / "own", DATA, TEST)
    words = ["evaluate", str(run_dir), "--data", str(tmp_path / "own"), "--json"]
    healthcare.main(words)
    *text, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    expected = predict_risk(risk, DATA.stays.pick(TEST))[:, -1]
    assert found["auroc"] == pytest.approx(roc_auc_score(DIED[TEST], expected))
    assert found["stays"] == 40 and found["deaths"] == DIED[TEST].sum()
    assert risk.threshold is not None
    alarm = expected >= risk.threshold
    assert found["sensitivity"] == pytest.approx(alarm[DIED[TEST]].mean())
    assert "Not for clinical use." in text[0]

    picture = tmp_path / "stay.png"
    healthcare.main(["predict", str(run_dir), *paths[:2], "--picture", str(picture)])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Risk of death in hospital. Not for clinical use."
    assert [line.split()[0] for line in said[1:]] == [*DATA.stays.names[80:82]]
    assert said[1].split()[1] == f"{predict_at(risk, 24)[0]:.3f}"
    assert picture.exists()
    wrong = ["predict", str(run_dir), *paths[:1], "--picture", str(tmp_path / "stay.x")]
    with pytest.raises(InputError, match=r"^--picture: expected a name that ends in"):
        healthcare.main(wrong)
    assert not capsys.readouterr().out


def predict_at(risk: RiskModel, hour: int) -> np.ndarray:
    """The risk of the stays of the test after so many hours."""
    return predict_risk(risk, DATA.stays.pick(TEST))[:, hour // 8 - 1]


@pytest.mark.parametrize(
    ("seen", "told"), [("07:59", 8), ("08:00", 16), ("09:30", 16), ("48:00", 48)]
)
def test_a_stay_that_has_only_begun_is_foretold_as_far_as_it_was_seen(
    seen: str,
    told: int,
    risk: RiskModel,
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """To the end of the step with the last measurement; one begins every 8 hours."""
    (tmp_path / "new.txt").write_text(f"Time,Parameter,Value\n{seen},HR,72\n")
    healthcare.main(["predict", str(run_dir), str(tmp_path / "new.txt")])
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("new  0.")
    assert line.removesuffix("  ALARM").endswith(f" after {told} h")


def test_what_cannot_be_done_is_said_in_one_line(
    risk: RiskModel, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(tmp_path / "own", DATA, TEST[:1])
    for words, message in (
        (["evaluate", str(run_dir)], "--data: expected files, found none"),
        (
            ["evaluate", str(run_dir), "--data", paths[0]],
            "expected an outcome of stay 1080, In-hosp",
        ),
        (["evaluate", str(run_dir), "--data", str(tmp_path / "own")], "expected 1 or"),
        (
            ["evaluate", str(tmp_path), "--data", str(tmp_path / "own")],
            "expected the c",
        ),
        (["predict", str(run_dir)], "predict: expected files of stays, found none"),
        (["--data", *paths], "expected an outcome of stay 1"),
        (["--data", str(tmp_path / "own")], "--folds: expected 2 or more, .* found 5"),
    ):
        with pytest.raises(InputError, match=message) as raised:
            healthcare.main(words)
        assert "\n" not in str(raised.value)
    record = json.loads((run_dir / "config.json").read_text())
    del record["sha256"]
    record["settings"]["preparation"]["hours"] = 0
    (tmp_path / "config.json").write_text(json.dumps(record))
    (tmp_path / "checkpoints").symlink_to(run_dir / "checkpoints")
    with pytest.raises(InputError, match="expected the scales of its inputs"):
        load_risk(tmp_path)
    monkeypatch.setattr(baseline, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^expected scikit-learn: pip install"):
        healthcare.main(["--smoke"])


def test_floors_see_the_training_part_alone() -> None:
    stays = DATA.stays.pick(TEST)
    found = floors(DATA.stays.pick(TRAIN), DIED[TRAIN], stays)
    assert all(roc_auc_score(DIED[TEST], each) > 0.9 for each in found.values())
    some = floors(DATA.stays.pick(TRAIN), DIED[TRAIN], stays.pick(np.array([5])))
    for name, chances in found.items():
        assert some[name][0] == pytest.approx(chances[5])


def test_validation_leaves_the_first_test_part_alone() -> None:
    options = healthcare.Options(validate=True)
    inside = healthcare.first_training_part(DATA, options)
    fold = healthcare.stratified_folds(DIED, 5)[0]
    assert set(inside.stays.names) == {DATA.stays.names[k] for k in fold.train}


@pytest.mark.parametrize("changed", [{"validate": True}, {"folds": 4}])
def test_a_row_of_the_benchmark_takes_its_protocol(
    changed: dict, tmp_path: Path
) -> None:
    (known,) = (b for b in BENCHMARKS if b.task == "Healthcare")
    files = [DataFile("x", 1, sum) for sum in known.sha256]
    usual = healthcare.protocol_of(healthcare.Options())
    assert described("Healthcare", usual, files, "own")["data"] == known.data
    other = healthcare.protocol_of(dataclasses.replace(healthcare.Options(), **changed))
    assert described("Healthcare", other, files, "own")["licence"] == "-"
