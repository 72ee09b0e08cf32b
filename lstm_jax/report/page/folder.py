"""What the files in the folder of a run say about it, for the page.

Every run directory can be described, of `train` or of an application, finished or not:
what isn't there has no place on the page, and a damaged file is named in one line.
"""

import datetime
from collections.abc import Sequence
from pathlib import Path

from lstm_jax.errors import InputError
from lstm_jax.report.advice import Advice, advise_on_history
from lstm_jax.report.curves import unit_of_text
from lstm_jax.report.page.confusions import read_confusion
from lstm_jax.report.page.curves import describe_history
from lstm_jax.report.page.pictures import describe_pictures
from lstm_jax.storage.files import Fields, open_regular, read_json
from lstm_jax.training.history import HistoryFile, HistoryRow, best_validation

_TEXTS = ("samples.txt", "test_translations.txt", "results.md", "ablation.md")
_CONFUSION = "confusion*.json"
_LONGEST = 20_000  # characters of a text
_RESULT = {
    "metric": "metric",
    "ours": "this run",
    "floor": "simple method",
    "published": "published",
    "best_known": "best known",
    "protocol": "protocol",
    "data": "data",
    "licence": "licence",
}


def describe(
    folder: Path,
    advice: Sequence[Advice] | None = None,
    *,
    running: bool = False,
    command: str = "",
) -> Fields:
    """Describe a run by the files in its folder.

    Args:
        folder: of the run.
        advice: what a closer look at the network has to say; without it, what the
            history says.
        running: whether the run still goes on.
        command: that began it, unless its result has that.
    """
    said: list[str] = []
    files = {name: _read(folder / f"{name}.json", said) for name in _OBJECTS}
    lines = _history(folder, said)
    summary, result = files["summary"], files["result"]
    unit = _as_text(summary.get("loss_unit")) or _usual_unit(files["config"])
    if advice is None:
        advice = advise_on_history(lines, unit)
    if running:  # that it isn't over is no fault
        advice = [each for each in advice if each.rule != "unfinished"]
    confusion = [(path, read_confusion(path)) for path in _regular(folder, _CONFUSION)]
    drawn_anew = {path.with_suffix(".png") for path, read in confusion if read}
    drawn_anew |= {folder / "curves.png"} if lines else set()
    pictures = [path for path in _regular(folder, "*.*") if path not in drawn_anew]
    status, mood = _status(summary, result, lines)
    return {
        "name": folder.resolve().name,
        "about": _about(files),
        "status": status,
        "mood": mood,
        "key": _key(summary, result, lines),
        "result": [
            [label, str(result[name])]
            for name, label in _RESULT.items()
            if result.get(name) not in (None, "-")
        ],
        "advice": [item.fields() for item in advice] if lines else None,
        "history": describe_history(lines, unit),
        "confusion": [read for _, read in confusion if read],
        "pictures": describe_pictures(pictures),
        "texts": _texts(folder),
        "facts": _facts(files, said, command),
        "parts": _parts(folder),
    }


_OBJECTS = ("config", "experiment", "summary", "result")


def _read(path: Path, said: list[str]) -> Fields:
    """A JSON object; nothing of a missing or a damaged file, which is said."""
    if not path.exists():
        return {}
    try:
        return read_json(path, "a JSON object")
    except InputError as error:
        said.append(str(error))
        return {}


def _history(folder: Path, said: list[str]) -> list[HistoryRow]:
    try:
        return HistoryFile(folder / "metrics.jsonl").read()
    except (InputError, OSError) as error:
        said.append(str(error))
        return []


def _regular(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that are no links, which may lead anywhere."""
    found = sorted(folder.glob(pattern))
    return [path for path in found if path.is_file() and not path.is_symlink()]


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _usual_unit(config: Fields) -> str:
    """That of a text generator whose run is not over."""
    text = config.get("text")
    return unit_of_text(str(text.get("vocab"))) if isinstance(text, dict) else ""


def _about(files: dict[str, Fields]) -> str:
    result, experiment = files["result"], files["experiment"]
    if task := _as_text(result.get("task")):
        return task
    if name := _as_text(experiment.get("experiment")):
        return f"A run of {name}"
    application = _as_text(files["config"].get("application"))
    return f"A network of {application}" if application else "A text generator"


def _status(
    summary: Fields, result: Fields, lines: Sequence[HistoryRow]
) -> tuple[str, str]:
    """How the run is, in a word, and whether that is good."""
    ended = _as_text(summary.get("ended")) or (lines[-1].ended if lines else None)
    if ended == "finished" or (result and not ended):
        return "finished", "good"
    return (ended, "") if ended else ("not finished", "")


def _key(
    summary: Fields, result: Fields, lines: Sequence[HistoryRow]
) -> list[tuple[str, object]]:
    """The numbers that are looked for first."""
    found: list[tuple[str, object]] = []
    for part in ("validation", "training"):
        for protocol, scores in _items(summary.get(part)):
            if isinstance(scores, dict) and "loss" in scores:
                name = f"{part} loss, {protocol}"
                found.append((name, _rounded(scores["loss"])))
                if "accuracy" in scores:
                    name = f"{part} accuracy, {protocol}"
                    found.append((name, _rounded(scores["accuracy"])))
    best = best_validation(lines)
    if not found and best:
        found += [
            (f"best validation {name.replace('_', ' ')}", _rounded(value))
            for name, value in best.val.items()
        ]
    if lines:
        last = lines[-1]
        found += [("steps", last.step), ("epochs", round(last.epoch, 2))]
        found.append(("time", _duration(last.seconds)))
    if isinstance(summary.get("parameters"), int):
        found.append(("parameters", summary["parameters"]))
    minutes = result.get("minutes")
    if isinstance(minutes, int | float) and not lines:
        found.append(("time", _duration(60 * minutes)))
    return found


def _items(value: object) -> list[tuple[str, object]]:
    return [*value.items()] if isinstance(value, dict) else []


def _rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _duration(seconds: float) -> str:
    if not seconds < 1e9:  # or not known
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{datetime.timedelta(seconds=round(seconds))}"


def _texts(folder: Path) -> list[Fields]:
    found = []
    for path in _regular(folder, "*.*"):
        if path.name not in _TEXTS:
            continue
        with open_regular(path) as file:
            text = file.read(4 * _LONGEST).decode("utf-8", "replace")
        left = "…" * (len(text) > _LONGEST)
        found.append({"name": path.name, "text": text[:_LONGEST] + left})
    return found


def _parts(folder: Path) -> list[str]:
    """The reports of runs inside this one, by their relative path."""
    inner = [*folder.glob("*/report.html"), *folder.glob("*/*/report.html")]
    return sorted(path.relative_to(folder).as_posix() for path in inner)


def _facts(files: dict[str, Fields], said: list[str], command: str) -> list[Fields]:
    """Everything else that the records say, in groups."""
    summary, experiment = files["summary"], files["experiment"]
    config, result = files["config"], files["result"]
    asked = result.get("command") or command
    groups: list[tuple[str, list[tuple[str, object]]]] = [
        ("Command", [("command", asked)] if asked else []),
        ("Data", _data(result.get("files") or experiment.get("files"))),
        ("Settings", _rows(experiment.get("options") or config)),
        ("Network", _rows(config) if experiment.get("options") else []),
        ("Time, device and versions", _rows(summary)),
        ("Files that could not be read", [("", each) for each in said]),
    ]
    return [
        {"heading": heading, "rows": rows, "open": k < 2 or heading.startswith("File")}
        for k, (heading, rows) in enumerate(groups)
        if rows
    ]


def _data(files: object) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for file in files if isinstance(files, list) else []:
        if isinstance(file, dict):
            size, digest = file.get("bytes"), file.get("sha256")
            text = f"{size:,} bytes" if isinstance(size, int) else "size unknown"
            rows.append((str(file.get("name")), f"{text}\nSHA-256 {digest or '–'}"))
    return rows


def _rows(value: object, prefix: str = "") -> list[tuple[str, object]]:
    """A nested object as rows, `optimizer.length` for example."""
    rows: list[tuple[str, object]] = []
    for name, each in _items(value):
        if isinstance(each, dict):
            rows += _rows(each, f"{prefix}{name}.")
        elif isinstance(each, list):
            rows.append((prefix + name, ", ".join(map(str, each))))
        else:
            rows.append((prefix + name, each if isinstance(each, float) else str(each)))
    return rows
