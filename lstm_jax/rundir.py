"""The run directory: a sealed box that holds all a run was, is and left.

    config.json      every setting, resolved; written before step 0
    vocab.json       symbols and their ids
    corpus.npy       the text, encoded, mapped into memory when read
    checkpoints/     the latest and the best state
    metrics.jsonl    one JSON object per line of history
    summary.json     results, written at the end
    samples.txt      text made by the trained model
    curves.png       losses, accuracies, learning rate and gradient norm over the run
    tensorboard/     the history as event files, if asked for
    inspect/         pictures of the trained network, if asked for

Its path is all that generation and evaluation need. Nothing in it is executed.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.config import ClusterConfig, TrainConfig, load_config, save_config
from lstm_jax.data import Corpus, load_corpus, split_size
from lstm_jax.errors import InputError
from lstm_jax.vocab import Vocab, load_vocab, save_vocab

Fields = dict[str, Any]  # a JSON object


@dataclasses.dataclass(frozen=True)
class Record:
    """What the loop knows beside the state, kept with every checkpoint.

    `loss` is the validation loss measured at this step, None if there was none;
    `best_step` and `best_loss` are those of the lowest so far.
    """

    step: int
    loss: float | None
    best_step: int
    best_loss: float | None
    seconds: float
    compile_seconds: float
    evaluate_seconds: float


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
        return load_config(self.path / "config.json")

    def vocab(self) -> Vocab:
        """The vocabulary of the run."""
        return load_vocab(self.path / "vocab.json")

    def corpus(self, config: TrainConfig) -> Corpus:
        """The text of the run, split as it was."""
        whole = load_corpus(self.corpus_path, 0)
        fraction = config.text.validation_fraction
        train_size = split_size(len(whole.ids), fraction, str(self.corpus_path))
        return dataclasses.replace(whole, train_size=train_size)

    @property
    def checkpoint_path(self) -> Path:
        """Where the states are."""
        return self.path / "checkpoints"

    def save_corpus(self, corpus: Corpus) -> None:
        """Write a text that is in memory."""
        np.save(self.corpus_path, corpus.ids)

    def start(self, config: TrainConfig, vocab: Vocab) -> None:
        """Write what is known before the first step."""
        self.write_config(config)
        save_vocab(vocab, self.path / "vocab.json")

    def write_config(self, config: TrainConfig) -> None:
        """Write the settings; how this process was asked to open the run is none."""
        lasting = dataclasses.replace(config.run, resume=False, overwrite=False)
        config = dataclasses.replace(config, run=lasting, cluster=ClusterConfig())
        save_config(config, self.path / "config.json")

    def append_line(self, line: Fields) -> None:
        """Add a line of history."""
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self, last_step: int | None = None) -> list[Fields]:
        """The history, up to and with `last_step`.

        Raises:
            InputError: a line is damaged. One cut short at the very end is no damage:
                the run was stopped while writing it.
        """
        path = self.path / "metrics.jsonl"
        texts = path.read_bytes().splitlines() if path.exists() else []
        lines = []
        for number, text in enumerate(texts, 1):
            try:
                line = json.loads(text)
                step = int(line["step"])
            except (ValueError, KeyError, TypeError):
                if number == len(texts):
                    break
                raise InputError(
                    f"{path}: expected a JSON object with a step on line {number}, "
                    f"found {text[:60]!r}"
                ) from None
            if last_step is None or step <= last_step:
                lines.append(line)
        return lines

    def rewrite_lines(self, lines: list[Fields]) -> None:
        """Replace the history."""
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self._replace("metrics.jsonl", text)

    def write_summary(self, summary: Fields) -> None:
        """Write the results."""
        self._replace("summary.json", json.dumps(summary, indent=2) + "\n")

    def write_samples(self, text: str) -> None:
        """Write what the model wrote."""
        self._replace("samples.txt", text)

    def _replace(self, name: str, text: str) -> None:
        """Write a file whole or not at all."""
        draft = self.path / f"{name}.draft"
        draft.write_bytes(text.encode("utf-8", "surrogatepass"))
        os.replace(draft, self.path / name)


def create_run(
    path: Path, overwrite: bool = False, spare: Sequence[Path] = ()
) -> RunDirectory:
    """A new run directory.

    Args:
        path: where.
        overwrite: replace a former run there.
        spare: files that must outlive this.

    Raises:
        InputError: something is there already. Only a former run can be overwritten,
            and only on request.
    """
    check_free(path, overwrite)
    for file in spare:
        if file.resolve().is_relative_to(path.resolve()):
            raise InputError(f"{path}: expected a folder without {file} in it")
    try:
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{path}: expected a folder to write to: {error}") from None
    return RunDirectory(path)


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse a path that holds something, unless it is a run to be overwritten."""
    try:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: expected a folder for the run, found a file")
        if not path.exists() or not any(path.iterdir()):
            return
    except OSError as error:
        raise InputError(f"{path}: expected a folder for the run: {error}") from None
    if not (path / "config.json").is_file():
        raise InputError(
            f"{path}: expected an empty folder or a run, found other files in it"
        )
    if not overwrite:
        raise InputError(
            f"{path}: expected a new folder, found a run; "
            "--resume continues it, --overwrite replaces it"
        )


def open_run(path: Path) -> RunDirectory:
    """An existing run directory.

    Raises:
        InputError: there is none.
    """
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
