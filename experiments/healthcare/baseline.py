"""What a network must beat: classical methods on simple statistics of the whole stay.

Of every variable the first value, the last, mean, least, largest and standard deviation
of what was seen, and how often; with age, gender, height and kind of unit. On these a
logistic regression and a random forest. Scikit-learn's, fitted to the training fold.
"""

import warnings
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from experiments.healthcare.data import Stays
from experiments.healthcare.inputs import Preparation, gridded, prepare
from lstm_jax import InputError
from lstm_jax.data import carry_forward

LOGISTIC, FOREST = "logistic regression", "random forest"
_HOURS = 1  # of a bin
_TREES = 300
_RIDGE = 100.0  # 1 / C: many columns say the same. Not tuned, as the trees are not


def need_sklearn() -> None:
    """Refuse to begin without the floors' package.

    Raises:
        InputError: it is not installed.
    """
    if find_spec("sklearn") is None:
        raise InputError("expected scikit-learn: pip install -e '.[healthcare]'")


def floors(
    train: Stays, died: NDArray[np.bool_], test: Stays, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """The risk of death of other stays by each method, [n] each.

    Args:
        train: the stays to learn from, and to estimate scales from.
        died: what became of them.
        test: the others.
        seed: of the forest.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    preparation = prepare(train, _HOURS)
    known, others = (statistics_of(stays, preparation) for stays in (train, test))
    methods = {
        LOGISTIC: LogisticRegression(C=1 / _RIDGE, max_iter=1000),
        FOREST: RandomForestClassifier(
            _TREES, min_samples_leaf=3, random_state=seed, n_jobs=1
        ),
    }
    return {
        name: method.fit(known, died).predict_proba(others)[:, 1]
        for name, method in methods.items()
    }


def statistics_of(stays: Stays, preparation: Preparation) -> NDArray[np.float64]:
    """Simple statistics of each stay's scaled signals, [n, features].

    What was never seen in a stay has the mean, 0.
    """
    values, observed = gridded(stays, _HOURS)
    scaled = preparation.signals(values, observed)
    last = carry_forward(scaled, observed)[:, -1]
    first = carry_forward(scaled[:, ::-1], observed[:, ::-1])[:, -1]
    seen = np.where(observed, scaled, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of what was never seen
        summaries = [
            f(seen, axis=1) for f in (np.nanmean, np.nanmin, np.nanmax, np.nanstd)
        ]
    count = np.log1p(observed.sum(axis=1))
    fixed = preparation.of_all_steps(stays.fixed)
    return np.nan_to_num(
        np.concatenate([first, last, *summaries, count, fixed], axis=1)
    )
