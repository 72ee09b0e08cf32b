"""A browser without a window, driven by its DevTools protocol over a pair of pipes."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
_PATIENCE = 30.0  # seconds
_WORDS = (
    *("--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
    *("--disable-component-update", "--disable-dev-shm-usage", "--mute-audio"),
)


class Refused(Exception):
    """The browser did not do what it was asked, of a page that is gone for one."""


class Browser:
    """One page, and all that it complained of or asked a network for.

    Attributes:
        complaints: errors, warnings and refusals of the console.
        requests: addresses that were asked for, but for the page's own and data.
    """

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._rest, self._count, self._session = b"", 0, ""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask(
            "Target.attachToTarget", targetId=target, flatten=True
        )["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **given: object) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": given}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._receive()
            if found.get("id") == self._count:
                if "error" in found:
                    raise Refused(found["error"]["message"])
                return found["result"]
            self._note(found)

    def open(self, path: Path, width: int = 1200, *, dark: bool = False) -> None:
        """Show a file in a window of this width, and wait until it is there."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=path.as_uri())
        self.wait_for("document.readyState === 'complete'")

    def run(self, script: str) -> Any:  # noqa: ANN401 - what JavaScript has
        """The value of an expression in the page, awaited."""
        found = self.ask(
            "Runtime.evaluate",
            expression=script,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until an expression holds."""
        until = time.monotonic() + _PATIENCE
        while True:
            # A page that loads itself anew can't answer for a moment.
            with contextlib.suppress(Refused):
                if self.run(condition):
                    return
            assert time.monotonic() < until, condition
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """What an element shows."""
        return self.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, scrolled into sight."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return x, y

    def hover(self, selector: str) -> None:
        """Move the pointer over an element."""
        x, y = self.place(selector)
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """Press the button of the mouse on an element."""
        x, y = self.place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.ask(
                "Input.dispatchMouseEvent",
                **{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1},
            )

    def press(self, *keys: str) -> None:
        """Press keys, by their names in JavaScript."""
        for key in keys:
            for kind in ("keyDown", "keyUp"):
                self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self, path: Path) -> None:
        """Take a picture of the whole page."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._read, 1 << 20)
            assert piece, "the browser is gone"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, given = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            address = given["request"]["url"]
            if not address.startswith(("file:", "data:", "about:", "blob:")):
                self.requests.append(address)
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(given["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(given["args"]))
        elif method == "Log.entryAdded":
            self.complaints.append(given["entry"]["text"])


@contextlib.contextmanager
def opened_browser() -> Iterator[Browser]:
    """Have a browser with a profile of its own."""
    assert CHROMIUM
    (their_read, our_write), (our_read, their_write) = os.pipe(), os.pipe()
    # It reads from file 3 and writes to file 4.
    script = f'exec "$0" "$@" 3<&{their_read} 4>&{their_write}'
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            ["bash", "-c", script, CHROMIUM, *_WORDS, f"--user-data-dir={profile}"],
            pass_fds=(their_read, their_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for theirs in (their_read, their_write):
            os.close(theirs)
        try:
            yield Browser(our_write, our_read)
        finally:
            for ours in (our_write, our_read):
                os.close(ours)
            process.terminate()
            process.wait()


def assert_opens(path: Path) -> None:
    """Open a page: no error, no request. Without a browser nothing is asked."""
    if not CHROMIUM:
        return
    with opened_browser() as browser:
        browser.open(path)
        assert browser.run("document.querySelectorAll('section').length") > 1
        assert browser.complaints == [] and browser.requests == []
