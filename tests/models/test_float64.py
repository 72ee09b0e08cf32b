"""Where JAX has float64, parameters are what they are without: types and numbers."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from lstm_jax.cells.named import CELLS
from lstm_jax.data.series import WindowSpec
from lstm_jax.models.saved import NETWORKS, ModelSpec, load_model, save_model

SIZES: dict[str, dict[str, Any]] = {
    "classifier": {"features": 3, "hidden_size": 4, "num_layers": 1, "classes": 2},
    "ctc": {"features": 3, "symbols": 5, "hidden": 4, "layers": 1},
    "event": {"features": 3, "hidden_size": 4},
    "density": {"features": 3, "anchors": 2, "hidden_size": 4},
    "forecaster": {"window": WindowSpec(2, (2, 4), 8), "hidden_size": 4},
    "frames": {"height": 3, "width": 3, "hidden": 2, "layers": 1},
    "language": {"vocab_size": 5, "hidden_size": 4, "num_layers": 2},
    "keyboard": {
        **{"features": 14, "labels": 13, "hidden_size": 4, "num_layers": 1},
        "key_size": 3,
    },
    "multilabel": {"features": 3, "labels": 2, "hidden_size": 4, "num_layers": 1},
    "seq2seq": {
        "source_size": 5,
        "target_size": 6,
        "embedding": 4,
        "hidden": 4,
        "layers": 1,
    },
}
VARIANTS = [
    *((name, {}) for name in NETWORKS),
    *(("language", {"cell": cell}) for cell in CELLS),
    ("classifier", {"vocab_size": 7}),
]


@pytest.mark.parametrize(("name", "more"), VARIANTS)
def test_parameters_are_of_the_same_types(name: str, more: dict[str, Any]) -> None:
    """Of others they could not be read from what was saved without, nor trained."""
    spec = ModelSpec(name, SIZES[name] | more)
    plain = jax.eval_shape(spec.build, jax.random.key(3))
    with jax.enable_x64(True):
        wide = jax.eval_shape(spec.build, jax.random.key(3))
    assert [a.dtype for a in jax.tree.leaves(wide)] == [
        a.dtype for a in jax.tree.leaves(plain)
    ]


def test_a_model_saved_without_float64_is_read_with_it(tmp_path: Path) -> None:
    """And the other way round; what is drawn is the same, too."""
    spec = ModelSpec("language", SIZES["language"])
    model = jax.jit(spec.build)(jax.random.key(0))
    save_model(tmp_path / "plain", "test", spec, model)
    with jax.enable_x64(True):
        same = jax.jit(spec.build)(jax.random.key(0))
        read = load_model(tmp_path / "plain").model
        save_model(tmp_path / "wide", "test", spec, read)
    found = load_model(tmp_path / "wide").model
    for each in (same, read, found):
        assert jax.tree.all(jax.tree.map(np.array_equal, each, model))
