"""Notices when another process of the run is gone, whatever this one waits for.

A collective waits for all devices. If a process is killed, its exchange may fail, or
hang, according to what carries it. So every process holds a connection to process 0,
which the operating system closes when its owner dies. Who finds one closed, or silent
for long, ends itself, which closes its own: all end within moments of each other.
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from lstm_jax.distributed.multihost import broadcast, is_primary

SILENCE = 22.0  # seconds after which a process that says nothing counts as lost
_EVERY = 3.0  # seconds between two signs of life
_BEAT, _BYE = b".", b"!"
_ADDRESS = 256  # bytes that hold HOST:PORT


def connect(host: str | None) -> list[socket.socket]:
    """Connections of process 0 to all others, or of another to process 0.

    All processes call this together. One that can't be reached in this way is not
    watched: JAX's own heartbeat then has to do.

    Args:
        host: of process 0; None for what it calls itself.
    """
    with contextlib.ExitStack() as opened:
        server = None
        address = ""
        if is_primary():
            server = opened.enter_context(socket.create_server(("", 0)))
            server.settimeout(_EVERY)
            address = f"{host or socket.gethostname()}:{server.getsockname()[1]}"
        written = np.frombuffer(address.encode().ljust(_ADDRESS), np.uint8)
        place, _, port = bytes(broadcast(written)).decode().strip().rpartition(":")
        links = []
        with contextlib.suppress(OSError):
            if server is None:
                links.append(socket.create_connection((place, int(port)), _EVERY))
            while server is not None and len(links) < jax.process_count() - 1:
                links.append(server.accept()[0])
    return links


def watch(
    links: Sequence[socket.socket], lost: Callable[[], None]
) -> Callable[[], None]:
    """Look after connections, in a thread.

    Args:
        links: of `connect`.
        lost: called in the thread if one of them ends without a good-bye.

    Returns:
        To be called at the end: says good-bye, and ends the watch.
    """
    leaving = threading.Event()
    selector = selectors.DefaultSelector()

    def look() -> None:
        heard = dict.fromkeys(links, time.monotonic())
        with selector:
            ended = _until_lost(selector, heard, leaving)
        if ended and not leaving.is_set():
            lost()

    def leave() -> None:
        leaving.set()
        for link in links:
            with contextlib.suppress(OSError):
                link.sendall(_BYE)

    for link in links:
        link.settimeout(_EVERY)
        selector.register(link, selectors.EVENT_READ)
    threading.Thread(target=look, daemon=True).start()
    return leave


def _until_lost(
    selector: selectors.BaseSelector,
    heard: dict[socket.socket, float],
    leaving: threading.Event,
) -> bool:
    """Exchange signs of life until someone is lost; False if all said good-bye.

    Args:
        selector: has all connections.
        heard: when each was last heard of.
        leaving: set when this process is about to end.
    """
    said = 0.0
    while heard and not leaving.is_set():
        for key, _ in selector.select(_EVERY):
            link = next(link for link in heard if link is key.fileobj)
            words = _listen(link)
            if not words:
                return True
            heard[link] = time.monotonic()
            if _BYE in words:
                selector.unregister(link)
                del heard[link]
        now = time.monotonic()
        if any(now - when > SILENCE for when in heard.values()):
            return True
        if now - said > _EVERY:
            said = now
            for link in heard:
                with contextlib.suppress(OSError):  # `_listen` will find out
                    link.sendall(_BEAT)
    return False


def _listen(link: socket.socket) -> bytes:
    """What was said; nothing if the connection is at its end."""
    try:
        return link.recv(64)
    except OSError:
        return b""
