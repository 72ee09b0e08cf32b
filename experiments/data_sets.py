"""The data of the table of applications: where they are, and under what licence.

Those whose licence allows it are fetched by `fetch.py`, from the commit that the
table's numbers were made from. Of the others the terms are told, and the address.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

_RAW = "https://raw.githubusercontent.com"


class Remote(NamedTuple):
    """A file: its address, the name that it gets, and its SHA-256."""

    url: str
    name: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Where data are.

    Attributes:
        application: which they are for.
        title: what they are.
        licence: of the data.
        home: the address of the people who gave them.
        files: one by one.
        archive: address of a zip that has them all, and more.
        members: what is kept of it, a pattern; its groups together are the name.
        listing: a name among the files, a JSON object whose keys are the names of more.
        listed: where those are, and what comes before their names here.
        total: SHA-256 of all files, see `fetch.sum_of`, unless they are one by one.
        data: what `--data` is given, below the folder; all of it if empty.
        megabytes: to be fetched.
        terms: why they are not fetched; empty if they are.
    """

    application: str
    title: str
    licence: str
    home: str
    files: tuple[Remote, ...] = ()
    archive: str = ""
    members: str = ""
    listing: str = ""
    listed: tuple[str, str] = ("", "")
    total: str = ""
    data: tuple[str, ...] = ()
    megabytes: float = 0.0
    terms: str = ""


_SHAKESPEARE = f"{_RAW}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
_PEN_DIGITS = f"{_RAW}/qinqinhan/CMDD/93a62e282b265f6dd6dc7d02f3424726d0341b18"
_JSB = f"{_RAW}/czhuang/JSB-Chorales-dataset/9a7f733ddb4ed91f48da64ac7f0f621c34aadd4d"
_NAB = f"{_RAW}/numenta/NAB/ea702d75cc2258d9d7dd35ca8e5e2539d71f3140"

DATA_SETS = {
    "tinyshakespeare": DataSet(
        application="text_generation",
        title="tiny shakespeare, 1,115,394 characters",
        licence="public domain",
        home="https://github.com/karpathy/char-rnn",
        files=(
            Remote(
                f"{_SHAKESPEARE}/data/tinyshakespeare/input.txt",
                "tinyshakespeare.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
        data=("tinyshakespeare.txt",),
        megabytes=1.1,
    ),
    "fsdd": DataSet(
        application="speech",
        title="Free Spoken Digit Dataset, 3,000 recordings",
        licence="CC BY-SA 4.0",
        home="https://github.com/Jakobovski/free-spoken-digit-dataset",
        archive="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/"
        "26eb9aaf76e81b692f806f9140c2d2777410d7a1.zip",
        members=r"[^/]+/recordings/([^/]+\.wav)",
        total="1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959",
        megabytes=20.0,
    ),
    "pendigits": DataSet(
        application="handwriting",
        title="PenDigits, 10,992 written digits",
        licence="CC BY 4.0",
        home="https://archive.ics.uci.edu/dataset/81",
        files=tuple(
            Remote(f"{_PEN_DIGITS}/Multivariate_ts/PenDigits/{name}", name, sha256)
            for name, sha256 in (
                (
                    "PenDigits_TRAIN.ts",
                    "8c665817e28c88922d06a25791bb24e3bef766ea0c48534e79f0b5ccd44526e4",
                ),
                (
                    "PenDigits_TEST.ts",
                    "efc35920415126cb0b1019f4a40c12990845f7d4eadf72c996d5d1f6aeb91c9a",
                ),
            )
        ),
        megabytes=0.9,
    ),
    "jsb": DataSet(
        application="music",
        title="JSB chorales in quarter notes, 382 pieces",
        licence="public domain",
        home="https://github.com/czhuang/JSB-Chorales-dataset",
        files=(
            Remote(
                f"{_JSB}/jsb-chorales-quarter.json",
                "jsb-chorales-quarter.json",
                "2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91",
            ),
        ),
        data=("jsb-chorales-quarter.json",),
        megabytes=0.4,
    ),
    "nab": DataSet(
        application="anomaly",
        title="Numenta Anomaly Benchmark, 58 series",
        licence="MIT",
        home="https://github.com/numenta/NAB",
        files=(
            Remote(
                f"{_NAB}/labels/combined_windows.json",
                "labels/combined_windows.json",
                "1e1fbc4601321aad8d0f8b3784c8134299379f68f6c1f7777565f8ffd57ab6b1",
            ),
        ),
        listing="labels/combined_windows.json",
        listed=(f"{_NAB}/data/", "data/"),
        total="032b9d703ca81db9ea11199c8f8e013f7883c4bd2881564f8352b65619528420",
        megabytes=9.7,
    ),
    "physionet2012": DataSet(
        application="healthcare",
        title="PhysioNet/CinC Challenge 2012, set-a, 4,000 stays",
        licence="ODC-By 1.0",
        home="https://physionet.org/content/challenge-2012/1.0.0/",
        archive="https://github.com/AbdelrahmanManz/ICU-Mortality-Predictor/archive/"
        "7037a4f84275e146be51bae44ceaa11e687269b8.zip",
        members=r"[^/]+/(set-a/[^/]+\.txt|Outcomes-a\.txt)",
        total="23376c1b11b62b738444e2f3e45ed7a1b7778b96790f949f12abd1918aa68fa5",
        data=("set-a", "Outcomes-a.txt"),
        megabytes=34.0,
    ),
    "m4": DataSet(
        application="forecast",
        title="M4 Hourly, 414 series",
        licence="none stated",
        home="https://github.com/Mcompetitions/M4-methods",
        terms="published without a licence: take Hourly-train.csv and Hourly-test.csv "
        "from Dataset/Train and Dataset/Test",
    ),
    "rt-polarity": DataSet(
        application="sentiment",
        title="sentence polarity dataset v1.0, 10,662 sentences",
        licence="none stated",
        home="https://www.cs.cornell.edu/people/pabo/movie-review-data/",
        terms="given for research without a licence: take rt-polarity.pos and "
        "rt-polarity.neg",
    ),
    "multi30k": DataSet(
        application="translate",
        title="Multi30k, task 1, 31,014 pairs",
        licence="non-commercial",
        home="https://github.com/multi30k/dataset",
        terms="for non-commercial use: take the folder data/task1/raw",
    ),
    "msr-action3d": DataSet(
        application="video",
        title="MSR Action3D, 567 sequences of 20 joints",
        licence="none stated",
        home="https://sites.google.com/view/wanqingli/data-sets/msr-action3d",
        terms="published for research without a licence",
    ),
}
