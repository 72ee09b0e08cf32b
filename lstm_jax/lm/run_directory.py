"""The run directory: a sealed box that holds all a run was, is and left.

    config.json      every setting, resolved; written before step 0
    vocab.json       symbols and their ids
    corpus.npy       the text, encoded, mapped into memory when read
    corpus.sha256    its checksum, as sha256sum -c reads it
    split.json       where the held-out part begins, if symbols are no characters
    checkpoints/     the last two states and the best one
    metrics.jsonl    one JSON object per line of history
    summary.json     results, written at the end
    samples.txt      text made by the trained model
    curves.png       losses, accuracies, learning rate and gradient norm over the run
    report.html      all of it and a look inside the network, for a browser
    tensorboard/     the history as event files, if asked for
    inspect/         pictures of the trained network, if asked for

`evaluate` adds confusion.png. Its path is all that generation and evaluation need.
Nothing in it is executed. The names of all files are in `lstm_jax.lm.claim.WRITTEN`
too.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from lstm_jax.config import ClusterConfig, expanded
from lstm_jax.data.memmap import write_ids
from lstm_jax.data.text import Corpus, load_corpus, split_size
from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.data.tokenizers.saved import load_vocabulary, save_vocabulary
from lstm_jax.data.tokenizers.vocabulary import Vocabulary
from lstm_jax.errors import InputError
from lstm_jax.lm.claim import DRAFT
from lstm_jax.lm.config import TrainConfig, load_chosen, load_config, save_config
from lstm_jax.storage.files import (
    Fields,
    read_json,
    replace_file,
    replace_json,
    write_json,
    writing,
)
from lstm_jax.training.history import HistoryFile

_SPLIT = "split.json"
_WRITTEN = ("config.json", "metrics.jsonl", "checkpoints", "summary.json")
_WRITTEN += ("samples.txt", "curves.png", "report.html", "tensorboard", "inspect")


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The files of one run."""

    path: Path

    @property
    def corpus_path(self) -> Path:
        """Where the encoded text is."""
        return self.path / "corpus.npy"

    def config(self) -> TrainConfig:
        """The settings of the run."""
        path = self.path / "config.json"
        config = load_config(path)
        if config.model.hidden is None or config.model.dropout is None:
            raise InputError(f"{path}: expected hidden and dropout, found none")
        return config

    def vocab(self) -> Vocabulary:
        """The vocabulary of the run."""
        return load_vocabulary(self.path / "vocab.json")

    def corpus(self, config: TrainConfig, vocab: Vocabulary) -> Corpus:
        """The text of the run, split as it was.

        Raises:
            InputError: it is missing, damaged, or of another vocabulary.
        """
        whole = load_corpus(self.corpus_path, 0, len(vocab))
        if isinstance(vocab, CharTokenizer):
            fraction = config.text.validation_fraction
            train_size = split_size(len(whole.ids), fraction, str(self.corpus_path))
        else:
            train_size = self._train_size(len(whole.ids))
        return dataclasses.replace(whole, train_size=train_size)

    def _train_size(self, total: int) -> int:
        path = self.path / _SPLIT
        found = read_json(path, "where the held-out part begins").get("train_size")
        if type(found) is not int or not 2 <= found <= total:
            raise InputError(
                f"{path}: expected a train_size from 2 to {total}, found {found!r:.60}"
            )
        return found

    def save_split(self, corpus: Corpus) -> None:
        """Write where the held-out part begins, which no share of symbols says."""
        write_json(self.path / _SPLIT, {"train_size": corpus.train_size})

    def chosen(self) -> list[str]:
        """What was chosen of the settings, and why, in lines for people."""
        path = self.path / "config.json"
        return load_chosen(path) if path.exists() else []

    @property
    def checkpoint_path(self) -> Path:
        """Where the states are."""
        return self.path / "checkpoints"

    @property
    def history(self) -> HistoryFile:
        """What was measured, line by line."""
        return HistoryFile(self.path / "metrics.jsonl")

    def save_corpus(self, corpus: Corpus) -> None:
        """Write a text that is in memory."""
        ids = corpus.ids
        write_ids(self.corpus_path, ids.dtype, len(ids), [ids])

    def announce(self) -> None:
        """Say that a run is being begun: cut short now, it is in nobody's way."""
        with writing(self.path):
            (self.path / DRAFT).touch()

    def start(
        self, config: TrainConfig, vocab: Vocabulary, chosen: Sequence[str] = ()
    ) -> None:
        """Write what is known before the first step; last what makes it a run."""
        save_vocabulary(vocab, self.path / "vocab.json")
        self.write_config(config, chosen)

    def write_config(self, config: TrainConfig, chosen: Sequence[str] = ()) -> None:
        """Write the settings; how this process was asked to open the run is none.

        Args:
            config: the settings.
            chosen: what was chosen of them, and why.
        """
        lasting = dataclasses.replace(config.run, resume=False, overwrite=False)
        config = dataclasses.replace(config, run=lasting, cluster=ClusterConfig())
        save_config(config, self.path / "config.json", chosen)

    def write_summary(self, summary: Fields) -> None:
        """Write the results."""
        replace_json(self.path / "summary.json", summary)

    def write_samples(self, text: str) -> None:
        """Write what the model wrote."""
        raw = text.encode("utf-8", "surrogatepass")
        replace_file(self.path / "samples.txt", raw)


def open_run(path: Path) -> RunDirectory:
    """An existing run directory.

    Raises:
        InputError: there is none.
    """
    path = expanded(path)
    try:
        found = path.is_dir()
    except OSError as error:
        raise InputError(f"{path}: expected a run directory: {error}") from None
    if not found:
        raise InputError(f"{path}: expected a run directory, found no folder")
    if not (path / "config.json").is_file():
        raise InputError(
            f"{path}: expected a run directory, found a folder without config.json"
        )
    return RunDirectory(path)


def refuse_links(run: RunDirectory) -> None:
    """Refuse to write where a link leads.

    Raises:
        InputError: something that a run writes is a symbolic link.
    """
    for name in _WRITTEN:
        if (run.path / name).is_symlink():
            raise InputError(f"{run.path / name}: expected no link, found one")
