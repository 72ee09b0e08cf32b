"""`python -m lstm_jax.generate` as a person runs it."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lstm_jax import generate
from lstm_jax.decoding import score_ids
from lstm_jax.errors import InputError
from lstm_jax.lm import save
from tests.helpers.commands import (
    Trained,
    assert_done,
    assert_refused,
    call,
    contents,
    environment,
    last_json,
    started,
)
from tests.helpers.tiny_models import untrained

# Generation.


def made(trained: Trained, *given: object) -> str:
    """What the generate command prints."""
    done = call("generate", trained.path, *given, cwd=trained.path.parent)
    assert_done(done)
    return done.stdout


def test_greedy_is_one_text(trained: Trained) -> None:
    before = contents(trained.path)
    given = ("--prompt", "the cat", "--length", 100, "--temperature", 0)
    text = made(trained, *given)
    assert text.startswith("the cat") and text.endswith("\n")
    assert len(text) == len("the cat") + 100 + 1
    # The same whatever the seed; with a stop it ends before that.
    continuation = text[len("the cat") : -1]
    stop = continuation[70:74]
    expected = "the cat" + continuation[: continuation.index(stop)]
    assert made(trained, *given, "--seed", 9, "--stop", stop) == expected + "\n"
    assert contents(trained.path) == before


def test_draws_are_decided_by_the_seed(trained: Trained) -> None:
    given = ("--prompt", "the ", "--length", 60, "--temperature", 1)
    one, other = (made(trained, *given, "--seed", seed) for seed in (1, 2))
    three = made(trained, *given, "--seed", 1, "--samples", 3)
    parts = three.split("--- sample ")[1:]
    assert [part.split("\n", 1)[0] for part in parts] == ["1", "2", "3"]
    texts = [part.split("\n", 1)[1] for part in parts]
    assert texts[0] == one, "the first sample does not depend on how many there are"
    assert len({*texts, other}) == 4
    for text in (*texts, other):
        assert text.startswith("the ") and len(text) == len("the ") + 60 + 1


def test_text_is_shown_as_it_is_made(trained: Trained) -> None:
    """The beginning of an endless text is there at once; who has enough may leave."""
    given = (trained.path, "--prompt", "the", "--length", 10**8, "--temperature", 1)
    with started("generate", *given, cwd=trained.path.parent) as process:
        assert process.stdout and process.stderr
        text = process.stdout.read(500)
        process.stdout.close()
        errors = process.stderr.read()
        code = process.wait()
    assert text.startswith("the") and len(text) == 500
    assert (code, errors) == (141, "")


def test_by_default_a_text_is_drawn_at_a_sensible_temperature(trained: Trained) -> None:
    given = ("--prompt", "the ", "--length", 60)
    usual = made(trained, *given)
    assert usual == made(trained, *given, "--temperature", 0.8)
    assert usual != made(trained, *given, "--temperature", 0)
    assert usual != made(trained, *given, "--seed", 1)


def test_prompts_come_from_a_file_or_the_standard_input(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line each, and each as it would be alone."""
    lines = "\ufeffthe cat\r\n\non a mat and ran\n".encode()
    file = tmp_path / "prompts.txt"
    file.write_bytes(lines)
    given = ("--length", 9, "--samples", 2, "--json")
    found = made(trained, "--prompts", file, *given)
    records = [json.loads(line) for line in found.splitlines()]
    prompts = ["the cat", "", "on a mat and ran"]
    assert [r["prompt"] for r in records] == [p for p in prompts for _ in range(2)]
    assert [r["sample"] for r in records] == [1, 2] * 3
    alone = made(trained, "--prompt", prompts[2], *given)
    assert found.endswith(alone)
    stdin = io.TextIOWrapper(io.BytesIO(lines))
    monkeypatch.setattr("sys.stdin", stdin)
    assert made(trained, "--prompts", "-", *given) == found
    shown = made(trained, "--prompts", file, "--length", 9)
    assert "--- prompt 3, sample 1\non a mat and ran" in shown


@pytest.mark.parametrize(
    ("raw", "given", "message"),
    [
        (b"", [], "expected a prompt a line, found nothing"),
        (b"the \xff", [], "expected UTF-8 text, found other data at byte 4"),
        (b"the", ["--prompt", "a"], "--prompts: expected none with --prompt"),
        (None, [], "expected a file, found nothing"),
    ],
)
def test_prompts_that_are_none_are_refused(
    raw: bytes | None, given: list[str], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "prompts.txt"
    if raw is not None:
        file.write_bytes(raw)
    with pytest.raises(InputError, match=message):
        generate.main([str(tmp_path), "--prompts", str(file), *given])


def test_the_scores_are_those_of_what_was_made(tmp_path: Path) -> None:
    """Of bytes that are no UTF-8, too: not of the signs that stand for them."""
    model = untrained("any", "byte")
    save(model, tmp_path / "run")
    given = ("--length", 40, "--json", "--prompt", "é", "--temperature", 1)
    done = call("generate", tmp_path / "run", *given, cwd=tmp_path)
    record = last_json(done)
    assert "\ufffd" in record["text"]
    assert len(record["ids"]) == len(record["log_probs"]) == 40
    prompt = model.vocab.encode("é")
    expected = score_ids(model.model, record["ids"], prompt)
    np.testing.assert_allclose(record["log_probs"], expected, atol=1e-4)
    assert record["log_prob"] == pytest.approx(expected.sum(), abs=1e-3)
    assert -6.5 < record["log_prob"] / 40 < -4.5  # all bytes are about as likely


def test_a_reader_that_left_is_no_error(tmp_path: Path) -> None:
    """Whatever is still in Python's buffers, which it flushes once more at its end."""
    script = tmp_path / "half.py"
    script.write_text(
        "import sys\n"
        "from lstm_jax.cli import run_command\n"
        "def main():\n"
        "    sys.stdin.read()\n"
        "    print('half a line', end='')\n"
        "    raise BrokenPipeError\n"
        "run_command(main)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**environment(), "PYTHONUNBUFFERED": ""},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


def test_an_unknown_character_is_named(trained: Trained, tmp_path: Path) -> None:
    given = (trained.path, "--prompt", "the Ω cat", "--length", 10)
    done = call("generate", *given, cwd=tmp_path)
    assert_refused(done, "prompt", "'Ω' (U+03A9)")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *(("--length", value) for value in ("-1",)),
        *(("--samples", value) for value in ("0", "-2")),
        *(("--seed", value) for value in ("-1", str(2**64))),
        *(("--temperature", value) for value in ("-1", "nan", "inf")),
        *(("--top-k", value) for value in ("-1",)),
        *(("--top-p", value) for value in ("0", "1.5", "nan")),
        *(("--min-p", value) for value in ("-0.1", "1.5")),
        *(("--repetition-penalty", value) for value in ("0.5",)),
        *(("--repetition-window", value) for value in ("0", "257")),
    ],
)
def test_generation_refuses_nonsense(flag: str, value: str, trained: Trained) -> None:
    given = [trained.path, "--prompt", "the", flag, value]
    if flag != "--temperature":
        given += ["--temperature", 1]
    done = call("generate", *given, cwd=trained.path.parent)
    assert_refused(done, f"{flag}: expected ", f"found {value}")


def test_a_beam_and_its_scores(trained: Trained) -> None:
    """Sorted, and with the log-probability of every character."""
    given = ("--prompt", "the", "--length", 12, "--beam", 3)
    shown = made(trained, *given, "--samples", 2, "--json")
    records = [json.loads(line) for line in shown.splitlines()]
    assert [record["sample"] for record in records] == [1, 2]
    for record in records:
        assert len(record["text"]) == len(record["log_probs"]) == 12
        assert record["log_prob"] == pytest.approx(sum(record["log_probs"]), abs=1e-2)
    assert records[0]["log_prob"] > records[1]["log_prob"]
    assert made(trained, *given) == "the" + records[0]["text"] + "\n"


def test_a_beam_heeds_its_stops_in_any_order(trained: Trained) -> None:
    given = ("--prompt", "the ", "--length", 12, "--beam", 4, "--samples", 4, "--json")
    one = made(trained, *given, "--stop", "t", " ", "§")
    assert one == made(trained, *given, "--stop", "§", " ", "t")
    records = [json.loads(line) for line in one.splitlines()]
    texts = [record["text"] for record in records]
    assert len(set(texts)) == 4 and not any({*text} & {*"t "} for text in texts)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--beam", "2", "--samples", "3"], "--samples: expected at most the --beam"),
        (["--beam", "2", "--temperature", "1"], "--temperature: expected none"),
        (["--beam", "2", "--seed", "1"], "--seed: expected none"),
        (["--beam", "-1"], "--beam: expected 0 or more, found -1"),
        (["--length-penalty", "1"], "--length-penalty: expected none without --beam"),
    ],
)
def test_a_beam_draws_nothing(given: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        generate.main([str(tmp_path), *given])


def test_nonsense_is_refused_before_the_model_is_loaded() -> None:
    message = "^--temperature: expected a number at least 0, found nan"
    with pytest.raises(InputError, match=message):
        generate.main(["nowhere", "--temperature", "nan"])


def test_more_candidates_than_symbols_are_all_of_them(trained: Trained) -> None:
    given = ("--prompt", "the", "--temperature", 1, "--length", 40)
    assert len({made(trained, *given, "--top-k", k) for k in (0, 1_000, 2**40)}) == 1
