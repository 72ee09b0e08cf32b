"""The data of the table of applications, known by their checksums.

A result has a benchmark's name, its licence and other people's numbers only if it was
made from the whole of the benchmark's data and by its protocol. All other data are the
user's own, and say no more than what their files are called.

Checksums are those of `experiments.results.describe_file`, SHA-256 of the unpacked
files, in the order in which they are read; those of a file per class, which have no
order, in the order of the sums. Where the same data come packed in several ways, a sum
stands for all of them: that of FSDD's recordings, in zips or not, is as `sha256sum
*.wav | LC_ALL=C sort -k2 | sha256sum` prints it; NAB's likewise, of data/*/*.csv and
labels/combined_windows.json; that of stays in intensive care is of one table, see
`experiments.healthcare.data.describe_stays`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiments.results import DataFile, Result


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Well-known data, and what is known of them.

    `task` and `protocol` are how those of a result begin, up to a comma.
    """

    task: str
    protocol: str
    data: str
    licence: str
    published: str
    best_known: str
    sha256: tuple[str, ...]

    def is_made_of(self, files: Sequence[DataFile]) -> bool:
        """Whether these are the data, all of them."""
        return self.sha256 == tuple(file.sha256 for file in files)

    def is_for(self, task: str) -> bool:
        """Whether it is a benchmark of this task."""
        return f"{task},".startswith(f"{self.task},")

    def covers(self, task: str, protocol: str, files: Sequence[DataFile]) -> bool:
        """Whether a result of this kind may have the benchmark's name."""
        by_protocol = f"{protocol},".startswith(f"{self.protocol},")
        return self.is_for(task) and by_protocol and self.is_made_of(files)


FSDD = {
    "licence": "CC BY-SA 4.0",
    "data": "FSDD, 3,000 recordings, 6 speakers",
    "sha256": ("1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959",),
}
JSB = {
    "licence": "public domain",
    "data": "JSB chorales, quarter notes, 229 / 76 / 77 pieces",
    "sha256": ("2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91",),
}
PEN_DIGITS = {
    "licence": "CC BY 4.0",
    "data": "PenDigits, 7,494 and 3,498 digits of 30 and 14 writers",
    "sha256": (
        "8c665817e28c88922d06a25791bb24e3bef766ea0c48534e79f0b5ccd44526e4",
        "efc35920415126cb0b1019f4a40c12990845f7d4eadf72c996d5d1f6aeb91c9a",
    ),
}
NAB = {
    "licence": "MIT",
    "data": "NAB, 58 series, 116 windows",
    "sha256": ("032b9d703ca81db9ea11199c8f8e013f7883c4bd2881564f8352b65619528420",),
}
BENCHMARKS = (
    Benchmark(
        task="Text generation",
        protocol="last 10 % held out",
        data="tiny shakespeare",
        licence="public domain",
        published="1.555 minLSTM",
        best_known="1.4697 nanoGPT, 3 minutes on an A100",
        sha256=("86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",),
    ),
    Benchmark(
        task="Sentiment",
        protocol="10-fold cross-validation, stratified",
        data="rt-polarity.pos rt-polarity.neg, 10,662 texts",
        licence="none stated, free for research",
        published="about 75 from scratch",
        best_known="81.5, CNN with word2vec (Kim 2014)",
        sha256=(
            "2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0",
            "4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca",
        ),
    ),
    Benchmark(
        task="Healthcare",
        protocol="5-fold cross-validation, stratified",
        data="PhysioNet 2012 set-a, 4,000 stays",
        licence="ODC-By 1.0",
        published="AUROC 0.8025 LSTM on means, 0.8195 GRU on means (Che et al. 2018)",
        best_known="AUROC 0.8424 GRU-D (Che et al. 2018)",
        sha256=(
            "7b5d6066220b2e468600392ac8d081f405cb4aadb3d3e03dfeddd715ea9b89ca",
            "2613ea60ccda29f87571a7d6b09ad130858a8ccd66325bd073365925026883c2",
        ),
    ),
    Benchmark(
        task="time-series prediction",
        protocol="test part, horizon 48, m = 24",
        data="M4 Hourly, 414 series",
        licence="none stated",
        published="0.440 LSTM hybrid, M4's winner; 1.036 M4's RNN",
        best_known="0.410 Doornik, M4",
        sha256=(
            "ea59b7783573c49077a835ab6465c7d66f1474783360f310988a9a737fbca62f",
            "71a57fccb15e534d973626ada4fb87febf789e9317715b7cc6dd3b5f90db6f42",
        ),
    ),
    Benchmark(
        task="Machine translation, de to en",
        protocol="lower case, test on test_2016_flickr",
        data="Multi30k task 1",
        licence="non-commercial",
        published="13.8 LSTM without attention, 28.3 GRU with it",
        best_known="none known with sacreBLEU; 36.5 small Transformer",
        sha256=(
            "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
            "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
            "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
            "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
            "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
            "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
        ),
    ),
    Benchmark(
        task="Video",
        protocol="cross-subject, 20 classes; mean of AS1, AS2, AS3",
        data="MSR Action3D, 557 sequences of 20 joints, 10 people",
        licence="none stated, published for research",
        published="75.42 MLSTM-FCN (Karim et al. 2019); AS 89.86 deep LSTM (Du et al. "
        "2015)",
        best_known="AS 94.49, hierarchical LSTM (Du et al. 2015), of LSTMs",
        sha256=(
            "a452e9a897ff692d1e6273432d78b3b6ed85cfcd302a563dff1704d5c3fbb391",
            "b7360b2c6b993536727a8fb62e8383b1772423991cc44b925562c28f10a3dd70",
        ),
    ),
    Benchmark(
        task="Speech recognition, isolated digits",
        protocol="official test",
        published="98.41 BiLSTM, 98.41 DTW, both on a random split of 4 speakers",
        best_known="none known on these splits",
        **FSDD,
    ),
    Benchmark(
        task="Speech recognition, joined digits",
        protocol="the same tests",
        published="none, the test is our own",
        best_known="none, the test is our own",
        **FSDD,
    ),
    Benchmark(
        task="Music generation",
        protocol="official test part, keys independent",
        published="8.45 LSTM, 8.43 GRU, about 300,000 parameters",
        best_known="8.10 TCN, about 300,000 parameters",
        **JSB,
    ),
    Benchmark(
        task="Music generation",
        protocol="official test part, chords note by note",
        published="6.27 RNN-RBM",
        best_known="5.56 RNN-NADE, of models of whole chords that we know",
        **JSB,
    ),
    Benchmark(
        task="Handwriting recognition, isolated digits",
        protocol="official test of unseen writers",
        published="97.8 MLSTM-FCN",
        best_known="98.0 TapNet",
        **PEN_DIGITS,
    ),
    Benchmark(
        task="Handwriting recognition, joined digits",
        protocol="lines of 2 to 6 digits of the official test",
        published="none, the test is our own",
        best_known="none, the test is our own",
        **PEN_DIGITS,
    ),
    Benchmark(
        task="Anomaly detection, F1",
        protocol="45 series",
        published="0.600 LSTM autoencoder, 0.586 LSTM dynamic threshold (Orion 0.7.1)",
        best_known="0.663 AER (Orion 0.7.1)",
        **NAB,
    ),
    Benchmark(
        task="Anomaly detection, NAB score",
        protocol="58 series",
        published="none by an LSTM on NAB's board; 70.1 HTM",
        best_known="74.9 ARTime",
        **NAB,
    ),
)


def described(
    task: str, protocol: str, files: Sequence[DataFile], own: str
) -> dict[str, Any]:
    """The fields of a result that follow from what it was made of.

    Args:
        task: of the result.
        protocol: likewise; all that a benchmark's protocol fixes is in it.
        files: the data; none if they were generated.
        own: what the data are called unless they are a benchmark's.
    """
    whose = {"data": own, **dict.fromkeys(("licence", "published", "best_known"), "-")}
    for known in BENCHMARKS:
        if known.covers(task, protocol, files):
            whose = {name: getattr(known, name) for name in whose}
    return {"task": task, "protocol": protocol, "files": tuple(files), **whose}


def refusal(result: Result) -> str | None:
    """Why a result is not one of a benchmark, in one line; None if it is."""
    candidates = [known for known in BENCHMARKS if known.is_for(result.task)]
    if any(b.covers(result.task, result.protocol, result.files) for b in candidates):
        return None
    for known in candidates:
        if known.is_made_of(result.files):
            wanted = f"{known.task}, {known.protocol}"
            return f"expected {wanted}, found {result.task}, {result.protocol}"
    expected = " or ".join(f"{b.data} ({_short(b.sha256)})" for b in candidates)
    found = _short([file.sha256 for file in result.files])
    return (
        f"expected {expected or 'a task of the benchmarks'}, found {result.task}: "
        f"{result.data} ({found})"
    )


def _short(sums: Sequence[str | None]) -> str:
    """Checksums, as many characters of them as tell them apart."""
    return "sha256 " + " ".join(f"{found or 'unknown':.8}" for found in sums or [None])
