"""Machine translation: its small language, its scores, and what it refuses."""

from pathlib import Path

import pytest

from experiments import translate
from experiments.translate import Options, PredictOptions
from lstm_jax import InputError


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a finished run"):
        translate.predict(PredictOptions(tmp_path, ("ein hund",)))


def test_no_sentence_of_the_small_language_is_learned_and_tested() -> None:
    pairs = translate.generated()
    assert len(set(pairs)) == len(pairs) == 225
    for source, target in pairs:
        assert len(source.split()) == len(target.split()) and source[-1] == "."


def test_scores_come_with_their_signature() -> None:
    pairs = [("quelle", "The little dog runs over the grass.")]
    ours = ["the little dog runs over the grass."]
    perfect = translate.score(Options(), ours, pairs)
    assert perfect.score == pytest.approx(100)
    assert "|case:lc|" in perfect.name and "|tok:13a|" in perfect.name
    assert translate.score(Options(capitals=True), ours, pairs).score < 99
