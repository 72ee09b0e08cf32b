"""`python -m lstm_jax.inspect` as a person runs it."""

from pathlib import Path

from tests.helpers.commands import (
    assert_done,
    assert_refused,
    call,
    contents,
    last_json,
)

# Inspection.


def test_a_run_is_inspected(copied: Path) -> None:
    before = contents(copied)
    done = call("inspect", copied, "--text", "the cat", "--json", cwd=copied.parent)
    assert_done(done)
    found = last_json(done)
    (layer,) = found["layers"]
    assert layer["units"] == 16 and len(layer["memory"]) == 3
    assert len(found["norms"]) == 200 and 0 < found["reach"] < 200
    for text in ("forget gate closed", "memory", "dead units", *found["advice"]):
        assert text in done.stdout
    pictures = {"gates.png", "lags.png", "units.png"}
    assert {path.name for path in (copied / "inspect").iterdir()} == pictures
    assert {name: contents(copied)[name] for name in before} == before


def test_inspection_names_an_unknown_character(copied: Path) -> None:
    done = call("inspect", copied, "--text", "Ω", cwd=copied.parent)
    assert_refused(done, "'Ω' (U+03A9)")
