"""Machine translation: which sentences are for what, and how they are scored."""

from pathlib import Path

import pytest

from experiments import translate
from experiments.translate import Options, PredictOptions, read_parts
from lstm_jax import InputError


def write(path: Path, prefix: str, count: int) -> Path:
    path.write_text("".join(f"{prefix} {k}\n" for k in range(count)))
    return path


def test_a_folder_has_its_parts(tmp_path: Path) -> None:
    for name, count in (("train", 5), ("val", 2), ("other", 3)):
        write(tmp_path / f"{name}.fr", f"{name} ours", count)
        write(tmp_path / f"{name}.cs", f"{name} theirs", count)
    options = Options(data=(tmp_path,), languages=("fr", "cs"), test="other")
    parts = read_parts(options)
    assert list(map(len, (parts.train, parts.val, parts.test))) == [5, 2, 3]
    assert parts.test[1] == ("other ours 1", "other theirs 1")


def test_two_files_are_cut_into_parts(tmp_path: Path) -> None:
    data = write(tmp_path / "a", "x", 45), write(tmp_path / "b", "y", 45)
    parts = read_parts(Options(data=data))
    assert parts.train + parts.val + parts.test == [
        (f"x {k}", f"y {k}") for k in range(45)
    ]
    assert (len(parts.val), len(parts.test)) == (2, 2)


def test_nonsense_is_refused(tmp_path: Path) -> None:
    few = (write(tmp_path / "a", "x", 19), write(tmp_path / "b", "y", 19))
    with pytest.raises(InputError, match="at least 20 pairs of sentences, found 19"):
        read_parts(Options(data=few))
    for data in ((), (*few, tmp_path)):
        with pytest.raises(InputError, match="expected a folder or two files, found"):
            read_parts(Options(data=data))
    with pytest.raises(InputError, match=r"train\.de: expected a text file"):
        read_parts(Options(data=(tmp_path,)))
    with pytest.raises(InputError, match="expected a finished run"):
        translate.predict(PredictOptions(tmp_path, ("ein hund",)))


def test_the_generated_language_needs_more_than_a_dictionary() -> None:
    pairs = translate.generated(50)
    assert len(set(pairs)) > 30 and pairs == translate.generated(50)
    for source, target in pairs:
        assert source.split()[1] != target.split()[1] and source.endswith(".")


def test_scores_come_with_their_signature() -> None:
    pairs = [("quelle", "The little dog runs over the grass.")]
    ours = ["the little dog runs over the grass."]
    perfect = translate.score(Options(), ours, pairs)
    assert perfect.score == pytest.approx(100)
    assert "|case:lc|" in perfect.name and "|tok:13a|" in perfect.name
    assert translate.score(Options(capitals=True), ours, pairs).score < 99
