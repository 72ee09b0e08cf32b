"""`report.html` as a person opens it: hovered, clicked, by keyboard, in a browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.data.text import encode_text
from lstm_jax.lm.looking import write_text_report
from lstm_jax.report.inspection import layers_of
from lstm_jax.report.page.confusions import describe_confusion
from lstm_jax.report.page.render import render
from lstm_jax.training.history import HistoryFile
from tests.helpers.browser import Browser, needs_browser, opened_browser
from tests.helpers.tiny_models import create_run, untrained
from tests.report.test_curves import history
from tests.report.test_page import HOSTILE, data_of, hostile_values

pytestmark = needs_browser
TEXT = 'He said "no, not so" and (she) left.\nThe 3 cats sat.\n\n' * 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all, since its start takes most of the time."""
    with opened_browser() as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_to_complain_of(browser: Browser) -> Iterator[None]:
    """No error on the console, and nothing asked of a network."""
    browser.complaints.clear()
    browser.requests.clear()
    yield
    browser.run("1")  # whatever was said before is known then
    assert browser.complaints == [] and browser.requests == []


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a text generator that knows nothing yet."""
    run = create_run(tmp_path_factory.mktemp("text") / "run")
    HistoryFile(run.path / "metrics.jsonl").rewrite(history(True, True))
    corpus, vocab = encode_text(TEXT, "char", 0.5)
    trained = untrained(TEXT)
    run.start(trained.config, vocab)
    return write_text_report(run, trained, corpus)


def texts(browser: Browser, selector: str) -> list[str]:
    """What all elements of a kind show."""
    query = json.dumps(selector)
    script = f"[...document.querySelectorAll({query})].map((e) => e.textContent)"
    return browser.run(script)


def test_a_chart_is_read_by_pointer_and_by_keys(browser: Browser, report: Path) -> None:
    browser.open(report)
    browser.hover("#curves svg")
    read = browser.text("#curves .readout")
    assert re.fullmatch(
        r"step 30 · training, .* 0\.6 · .* 0\.5 · validation 1\.235", read
    )
    browser.run("document.querySelector('#curves svg').focus()")
    browser.press("Home")
    assert browser.text("#curves .readout") == "step 5 · training, as it went 3.1"
    browser.press("ArrowRight")
    read = browser.text("#curves .readout")
    assert read.startswith("step 10 ·") and "· validation 1.64" in read
    legends = texts(browser, "#curves figure:first-child .legend li")
    assert "best: step 20" in legends and "overfitting, from step 30" in legends


def test_the_axis_and_the_scale_are_switched(browser: Browser, report: Path) -> None:
    browser.open(report)
    line = "document.querySelector('#curves path').getAttribute('d')"
    before = browser.run(line)
    browser.click("#curves label:has([value=log])")
    browser.wait_for(f"{line} !== {json.dumps(before)}")
    browser.click("#curves label:has([value=seconds])")
    browser.run("document.querySelector('#curves svg').focus()")
    browser.press("End")
    assert browser.text("#curves .readout").startswith("seconds 12 ·")
    browser.open(report)  # what was chosen is kept
    assert browser.run("document.querySelector('#curves [value=seconds]').checked")
    for value in ("step", "linear"):
        browser.click(f"#curves label:has([value={value}])")


def test_a_symbol_tells_what_is_expected_after_it(
    browser: Browser, report: Path
) -> None:
    browser.open(report)
    browser.hover("#reading .text span:nth-child(4)")
    trained, (corpus, _) = untrained(TEXT), encode_text(TEXT, "char", 0.5)
    ids = jnp.asarray(corpus.validation, jnp.int32)[None, :5]
    logits, _ = trained.model(ids)
    chances = np.asarray(jax.nn.softmax(logits[0].astype(np.float32)))
    bits = -np.log2(chances[2, ids[0, 3]])
    aside = browser.text("#reading .aside")
    assert f"Surprise {bits:.2f} bits" in aside
    best = np.argsort(-chances[3])[:5]
    shown = texts(browser, "#reading .guesses .name")
    names = {" ": "space", "\n": "⏎ newline"}
    written = [trained.vocab.decode([int(k)]) for k in best]
    assert shown == [names.get(symbol, symbol) for symbol in written]
    meters = browser.run("[...document.querySelectorAll('meter')].map((m) => m.value)")
    np.testing.assert_allclose(meters, chances[3][best], atol=6e-5)
    browser.run("document.querySelector('#reading .text').focus()")
    browser.press("ArrowRight", "ArrowRight")
    assert "– symbol 6" in browser.text("#reading .aside h3")
    browser.press("End")
    assert "followed" not in browser.text("#reading .aside")


def test_units_color_the_text_and_are_found_by_a_pattern(
    browser: Browser, report: Path
) -> None:
    browser.open(report)
    browser.run("document.querySelector('#reading form select').value = '0'")
    change = "new Event('change', {bubbles: true})"
    browser.run(
        f"document.querySelector('#reading form select').dispatchEvent({change})"
    )
    assert " on the other half)" in browser.text("#reading .units")
    color = "document.querySelector('#reading .text span:nth-child(9)').style"
    before = browser.run(f"{color}.backgroundColor")
    browser.click("#reading .units button")
    browser.wait_for(f"{color}.backgroundColor !== {json.dumps(before)}")
    browser.hover("#reading .text span:nth-child(9)")
    assert "unit" in browser.text("#reading .aside")
    search = "document.querySelector('#reading form [type=text]')"
    for pattern, found in (("[", "No regular"), ("@", "Expected"), ("cat", " match.")):
        browser.run(f"{search}.value = {json.dumps(pattern)}")
        browser.click("#reading form button")
        note = "document.querySelector('#reading form + div').textContent"
        browser.wait_for(f"{note}.includes({json.dumps(found)})")
    assert len(texts(browser, "#reading .units button")) == 8


def test_the_units_activations_are_those_of_the_network(
    browser: Browser, report: Path
) -> None:
    browser.open(report)
    trained, (corpus, _) = untrained(TEXT), encode_text(TEXT, "char", 0.5)
    count = browser.run("DATA.reading.ids.length")
    ids = jnp.asarray(corpus.validation[:count])[:, None]
    (layer,) = layers_of(trained.model, ids.astype(jnp.int32))
    for k, name in enumerate(
        browser.run("DATA.reading.quantities.map((q) => q.label)")
    ):
        script = f"inflate(DATA.reading.quantities[{k}].cells).then((c) => [...c])"
        cells = np.array(browser.run(script)).reshape(-1, count)
        if name == "output h":
            expected = np.asarray(layer.h)[:, 0].T
            np.testing.assert_allclose(cells / 7 - 1, expected, atol=0.5 / 7 + 1e-6)
        if name == "forget gate":
            expected = np.asarray(layer.gate("f"))[:, 0].T
            np.testing.assert_allclose(cells / 14, expected, atol=0.5 / 14 + 1e-6)


def test_a_cell_of_the_confusion_matrix_shows_its_examples(
    browser: Browser, tmp_path: Path
) -> None:
    examples = [(0, 1, "not so good"), (1, 1, "fine")]
    matrix = describe_confusion(
        np.array([[8, 2], [0, 9]]), ["bad", "good"], "sentences", examples
    )
    path = tmp_path / "page.html"
    path.write_bytes(render({"name": "x", "facts": [], "confusion": [matrix]}))
    browser.open(path)
    browser.click("#confusion .units button")
    assert browser.text("#confusion h3 ~ p + ul") == "not so good"
    browser.run("document.querySelector('#confusion svg').focus()")
    browser.press("ArrowDown", "ArrowRight")
    assert "good, recognized9 times, 100 % of 9" in browser.text("#confusion .matrix")


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window(
    width: int, dark: bool, browser: Browser, report: Path
) -> None:
    browser.open(report, width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(18, 21, 26)" if dark else "rgb(246, 247, 249)")


def test_everything_is_reached_by_tab(browser: Browser, report: Path) -> None:
    browser.open(report)
    missing = {"curves", "reading", "network", "confusion", "settings"}
    inside = "document.activeElement.closest('section')?.id"
    for _ in range(80):
        browser.press("Tab")
        missing -= {browser.run(inside)}
        if not missing:
            return
    raise AssertionError(missing)


def test_a_hostile_page_shows_its_text_and_runs_nothing(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    data = data_of(report)
    hostile = {key: hostile_values(value) for key, value in data.items()}
    path = tmp_path / "hostile.html"
    path.write_bytes(render(hostile))
    browser.open(path)
    assert browser.text("#name") == HOSTILE
    assert browser.run("document.querySelectorAll('img, script').length") == 2
    browser.hover("#reading .text span:nth-child(4)")
    browser.click("#confusion .units button")
    browser.press("ArrowDown")
    assert browser.run("document.querySelectorAll('img, script').length") == 2


def test_a_page_of_a_run_that_goes_on_looks_for_a_newer_one(
    browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    rows = [[str(k), "x"] for k in range(200)]
    facts = [{"heading": "Settings", "rows": rows, "open": True}]
    page = {"name": "first", "facts": facts, "reload": 0.3, "status": "running"}
    path.write_bytes(render(page))
    browser.open(path)
    browser.run("window.scrollTo(0, 700)")
    path.write_bytes(render({**page, "name": "second", "reload": None}))
    browser.wait_for("document.getElementById('name')?.textContent === 'second'")
    browser.wait_for("window.scrollY === 700")
