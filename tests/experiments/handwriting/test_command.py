"""The experiment on pen strokes: its data, its batches, a drawing of the user's."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from experiments import digits
from experiments.digits import Report, Settings
from experiments.handwriting import __main__ as handwriting
from experiments.handwriting import data, evaluation, plots, task
from experiments.handwriting.lines import write_line
from experiments.handwriting.page import PAGE
from experiments.handwriting.strokes import line_features
from experiments.known_data import PEN_DIGITS
from experiments.results import DataFile
from lstm_jax import InputError
from lstm_jax.metrics import Edits
from lstm_jax.models import write_spec
from tests.helpers.random_networks import save_random_networks

KNOWN, TESTED = data.scribbles()
SMALL = Settings(4, 1, 6, layers=1, members=2)


def ts_lines(some: data.Digits) -> str:
    """Digits as the lines of a `.ts` file, in its square from 0 to 100."""
    rows = []
    for points, digit in zip(50 * some.points + 50, some.classes, strict=True):
        rows.append(":".join(",".join(map(str, axis)) for axis in points.T))
        rows[-1] += f":{digit}"
    return "#a comment\n@data\n" + "\n".join(rows) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like that of PenDigits."""
    path = tmp_path / "data"
    path.mkdir()
    for name, some in zip(data.PARTS, (KNOWN, TESTED), strict=True):
        (path / name).write_text(ts_lines(some))
    return path


def test_a_file_of_digits_is_read(folder: Path) -> None:
    found = data.read_digits(folder / data.PARTS[1])
    np.testing.assert_allclose(found.points, TESTED.points, atol=1e-12)
    np.testing.assert_array_equal(found.classes, TESTED.classes)


def test_a_byte_order_mark_spaces_and_other_line_ends_are_no_matter(
    folder: Path,
) -> None:
    path = folder / data.PARTS[1]
    whole = path.read_text()
    for odd in (
        "\ufeff" + whole,
        whole.replace("\n", " \r\n "),
        whole.replace("\n", "\r"),
    ):
        path.write_bytes(odd.encode())
        found = data.read_digits(path)
        np.testing.assert_allclose(found.points, TESTED.points, atol=1e-12)


GOOD = "1,2,3,4,5,6,7,8"


@pytest.mark.parametrize(
    "line",
    [
        f"{GOOD}:{GOOD}",
        f"{GOOD}:{GOOD}:",
        f"{GOOD}:{GOOD}:x",
        f"{GOOD}:{GOOD}:10",
        f"{GOOD}:{GOOD}:34",
        f"{GOOD}:-1e308,2,3,4,5,6,7,1e308:1",
        f"{GOOD}:{GOOD},9:1",
        f"{GOOD}:{GOOD}:{GOOD}:1",
        f"{GOOD}:1,2,3,4,5,6,7,nan:1",
        f"{GOOD}:1,2,3,4,5,6,7,one:1",
        "\x00\xff",
    ],
)
def test_a_line_that_is_no_digit_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_text(f"@data\n{GOOD}:{GOOD}:1\n{line}\n", "latin-1")
    with pytest.raises(InputError, match=r"a\.ts, line 3: expected 8 x, 8 y"):
        data.read_digits(tmp_path / "a.ts")
    (tmp_path / "a.ts").write_text("@data\n")
    with pytest.raises(InputError, match=r"a\.ts: expected digits, found none"):
        data.read_digits(tmp_path / "a.ts")


def test_what_is_held_out_is_of_styles_that_the_rest_lacks() -> None:
    rng = np.random.default_rng(1)
    # 80 hands, each of which wrote its nought 5 times, all but the same.
    hands = np.repeat(rng.uniform(-1, 1, (80, 8, 2)), 5, axis=0)
    whole = data.Digits(hands + rng.normal(0, 1e-3, hands.shape), np.zeros(400, int))
    known, held_out = data.without_styles(whole)
    assert len(known.classes) + len(held_out.classes) == 400
    assert 60 <= len(held_out.classes) <= 100
    near = np.square(held_out.points[:, None] - known.points).sum(axis=(2, 3)).min(1)
    assert near.min() > 0.1  # no hand is on both sides


def test_settings_are_chosen_without_the_test(folder: Path) -> None:
    (folder / data.PARTS[1]).unlink()
    options = handwriting.Options(data=folder, validate=True)
    known, held_out = handwriting.material(options)
    assert len(known.classes) + len(held_out.classes) == len(KNOWN.classes)
    assert len(held_out.classes) >= 10
    with pytest.raises(InputError, match=f"{data.PARTS[1]}: expected a file"):
        handwriting.material(handwriting.Options(data=folder))


def test_what_is_held_out_by_chance_is_not_learned_from() -> None:
    marked = KNOWN._replace(classes=np.arange(120))
    known, held_out = data.hold_out(marked, 0.1, 0)
    assert len(held_out.classes) == 12
    together = np.concatenate([known.classes, held_out.classes])
    assert sorted(together.tolist()) == list(range(120))


def test_batches_are_functions_of_seed_and_number() -> None:
    for make in (task.isolated_batch, task.joined_batch):
        one, same, other, seed = (
            make(SMALL, KNOWN, *place) for place in ((0, 3), (0, 3), (0, 4), (1, 3))
        )
        for name in one:
            np.testing.assert_array_equal(one[name], same[name])
            assert one[name].shape == other[name].shape == seed[name].shape
        name = "frames" if "frames" in one else "inputs"
        assert not np.array_equal(one[name], other[name])
        assert not np.array_equal(one[name], seed[name])


def test_a_batch_of_lines_says_what_is_in_it() -> None:
    how = Settings(4, 1, 64)
    batch = task.joined_batch(how, KNOWN, 0, 0)
    counts = (batch["transcripts"] > 0).sum(axis=1)
    assert set(counts.tolist()) == set(range(1, 7))
    assert batch["frames"].shape == (64, task._LONGEST, 7)
    assert (batch["lengths"] >= 2 * counts).all()
    lifts = batch["frames"][..., -1].sum(axis=1)
    told = lifts > 0
    # Lifted after all digits but the last one, and within some; or nothing is told.
    assert (lifts >= counts - 1)[told].all() and (counts > 1)[~told].sum() <= 20
    assert (~told & (counts > 1)).any()


def test_a_result_holds_every_number(tmp_path: Path) -> None:
    edits = Edits(1, 2, 3, 300, 100, 5)
    ours, floor = Report(99, 100, edits, edits), Report(90, 100, edits, edits)
    files = [DataFile("x.ts", 1, digest) for digest in PEN_DIGITS["sha256"]]
    for given, own in ((files, PEN_DIGITS["data"]), ((), "generated scribbles")):
        evaluation.write_results(tmp_path, "a command", ours, floor, 1.5, given)
        isolated = json.loads((tmp_path / "isolated" / "result.json").read_text())
        joined = json.loads((tmp_path / "result.json").read_text())
        assert (isolated["ours"], isolated["floor"]) == ("99.00", "1-NN 90.00")
        assert joined["ours"] == "2.00" and "1-NN 2.00" in joined["floor"]
        assert isolated["data"] == joined["data"] == own
        assert isolated["task"] != joined["task"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves, with networks of random weights."""
    path = tmp_path_factory.mktemp("run")
    setups = task.isolated_setup(SMALL, None), task.joined_setup(SMALL, None)
    save_random_networks(path, task.APPLICATION, *setups)
    return path


def test_it_is_scored_on_digits_of_the_users(
    run_dir: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "own.ts"
    some = TESTED.rows(np.arange(20))
    file.write_text(ts_lines(some))
    handwriting.main(["evaluate", str(run_dir), "--data", str(file), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    networks = digits.load_networks(run_dir, task.APPLICATION)
    rows = list(evaluation.digit_features(some.points))
    right = networks.name(rows).argmax(axis=1) == some.classes
    assert found["digits"] == 20 and found["accuracy"] == right.mean()
    assert 57 <= found["joined_digits"] <= 60 and found["digit_error_rate"] > 0
    file.write_text(ts_lines(some.rows(np.arange(1))))  # and no line is made of it
    handwriting.main(["evaluate", str(run_dir), "--data", str(file), "--json"])
    said, record = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"isolated ./1 = .*00 %; too few to be joined", said)
    assert json.loads(record)["digit_error_rate"] is None
    with pytest.raises(InputError, match=r"--data: expected a \.ts file of digits"):
        handwriting.main(["evaluate", str(run_dir)])


def test_a_drawing_of_the_users_is_read(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In whatever form, size and place; and y is turned the right way."""
    line = write_line(np.random.default_rng(0), KNOWN.rows(np.arange(3)))
    strokes = [(300 * stroke + 1000).tolist() for stroke in line.strokes]
    (tmp_path / "up.json").write_text(json.dumps({"y": "up", "strokes": strokes}))
    rows = [f"{k},{x},{y}" for k, stroke in enumerate(strokes) for x, y in stroke]
    (tmp_path / "up.csv").write_text("\n".join(["stroke,x,y", *rows]))
    traces = (", ".join(f"{x} {-y}" for x, y in stroke) for stroke in strokes)
    text = "".join(f"<trace>{trace}</trace>" for trace in traces)
    (tmp_path / "down.inkml").write_text(f"<ink>{text}</ink>")
    said = []
    picture = tmp_path / "read.png"
    for file, *flags in (
        ["up.json", "--picture", str(picture)],
        ["up.csv", "--upward"],
        ["down.inkml"],
        ["up.csv"],
    ):
        handwriting.main(["predict", str(run_dir), str(tmp_path / file), *flags])
        said.append(capsys.readouterr().out)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert said[0] == said[1] == said[2] != said[3]
    first, *_, last = said[0].splitlines()
    assert re.fullmatch(r"read: [\d ]+   \(probability [01]\.\d{3}\)", first), first
    assert re.fullmatch(r"if it is one digit: \d   \(probability .*\)", last), last
    frames = line_features(line.strokes)
    networks = digits.load_networks(run_dir, task.APPLICATION)
    best = digits.prefix_beam_search(networks.read([frames])[0], digits.BEAM)[0]
    assert first.startswith(f"read: {digits.names(best.symbols)}   ")


def test_other_files_and_other_runs_are_refused(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[[[0, 0], [1, 1]]]")
    drawing = str(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"--picture: expected a name that ends in"):
        words = ["--picture", str(tmp_path / "a.doc")]
        handwriting.main(["predict", str(run_dir), drawing, *words])
    with pytest.raises(InputError, match="could not be written: No such file"):
        words = ["--picture", str(tmp_path / "none" / "a.png")]
        handwriting.main(["predict", str(run_dir), drawing, *words])
    spec = task.joined_setup(SMALL, None).spec
    write_spec(tmp_path / "other", "music", spec)  # which has no folder "isolated"
    with pytest.raises(InputError, match="expected a model of handwriting, found 'mu"):
        handwriting.main(["predict", str(tmp_path / "other"), drawing])
    scribble = [[k % 2, k % 3] for k in range(3000)]
    (tmp_path / "a.json").write_text(json.dumps([scribble]))
    with pytest.raises(InputError, match=r"expected one line of digits, found a path"):
        handwriting.main(["predict", str(run_dir), drawing])
    new = ["--run-dir", str(tmp_path / "new")]
    with pytest.raises(InputError, match="--data: expected a folder with PenDigits"):
        handwriting.main(new)
    for name in data.PARTS:
        (tmp_path / name).write_text(ts_lines(KNOWN.rows(np.arange(1))))
    with pytest.raises(InputError, match="--data: expected digits to make lines of"):
        handwriting.main(["--data", str(tmp_path), *new])
    assert not (tmp_path / "new").exists()


def test_strokes_are_given_to_the_digits_they_are_of() -> None:
    """Cut where the pen was lifted between them; if it was not, in the middle."""
    one, two = (np.array([[x, 0.0], [x, 1.0]]) for x in (0.0, 2.0))
    each = len(line_features([one]))
    for strokes in ([one, two], [np.concatenate([one, two])]):
        count = len(line_features(strokes))
        logits = np.zeros((count, 11))
        logits[:, 0] = 5
        logits[1, 3] = logits[-3, 4] = 9  # the middle is not that of the points
        border = each if len(strokes) == 2 else 2 + (count - 3 - 1) // 2
        owner = plots.owners(plots.Reading(strokes, logits, (3, 4), ""))
        np.testing.assert_array_equal(owner, np.arange(count) >= border)
    parts = plots.split([one, two], np.repeat([0, 1], each))
    assert [owner for _, owner in parts] == [0, 1]
    np.testing.assert_array_equal(parts[1][0], two)


class Page(HTMLParser):
    """What a page asks for from elsewhere, and what can be clicked in it."""

    def __init__(self) -> None:
        super().__init__()
        self.buttons, self.links = [], []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = dict(attrs)
        self.links += [found[name] for name in ("src", "href") if name in found]
        if tag == "button":
            self.buttons.append(found["id"])


def test_the_page_is_one_file_that_asks_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "draw.html"
    handwriting.main(["page", str(file)])
    text = file.read_text(encoding="utf-8")
    assert text == PAGE.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.links == [] and page.buttons == ["undo", "clear", "save"]
    assert "default-src 'none'" in text and not re.search(r"https?:|url\(|import", text)
    with pytest.raises(InputError, match="could not be written: File exists"):
        handwriting.main(["page", str(file)])
