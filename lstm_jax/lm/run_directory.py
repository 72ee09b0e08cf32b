"""The run directory: a sealed box that holds all a run was, is and left.

    config.json      every setting, resolved; written before step 0
    vocab.json       symbols and their ids
    corpus.npy       the text, encoded, mapped into memory when read
    corpus.sha256    its checksum, as sha256sum -c reads it
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
from pathlib import Path

from lstm_jax.config import ClusterConfig, expanded
from lstm_jax.data.memmap import write_ids
from lstm_jax.data.text import Corpus, load_corpus, split_size
from lstm_jax.data.tokenizers.characters import CharTokenizer, load_vocab, save_vocab
from lstm_jax.errors import InputError
from lstm_jax.lm.claim import DRAFT
from lstm_jax.lm.config import TrainConfig, load_config, save_config
from lstm_jax.storage.files import Fields, replace_file, replace_json, writing
from lstm_jax.training.history import HistoryFile

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

    def vocab(self) -> CharTokenizer:
        """The vocabulary of the run."""
        return load_vocab(self.path / "vocab.json")

    def corpus(self, config: TrainConfig, vocab: CharTokenizer) -> Corpus:
        """The text of the run, split as it was.

        Raises:
            InputError: it is missing, damaged, or of another vocabulary.
        """
        whole = load_corpus(self.corpus_path, 0, len(vocab))
        fraction = config.text.validation_fraction
        train_size = split_size(len(whole.ids), fraction, str(self.corpus_path))
        return dataclasses.replace(whole, train_size=train_size)

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

    def start(self, config: TrainConfig, vocab: CharTokenizer) -> None:
        """Write what is known before the first step; last what makes it a run."""
        save_vocab(vocab, self.path / "vocab.json")
        self.write_config(config)

    def write_config(self, config: TrainConfig) -> None:
        """Write the settings; how this process was asked to open the run is none."""
        lasting = dataclasses.replace(config.run, resume=False, overwrite=False)
        config = dataclasses.replace(config, run=lasting, cluster=ClusterConfig())
        save_config(config, self.path / "config.json")

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
