"""Connections that end: with a good-bye, without one, or in silence."""

import socket
import threading
from collections.abc import Iterator

import pytest

from lstm_jax.distributed import heartbeat
from lstm_jax.distributed.heartbeat import connect, watch

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Two ends of a connection, and little patience."""
    monkeypatch.setattr(heartbeat, "_EVERY", 0.1)
    monkeypatch.setattr(heartbeat, "SILENCE", 0.6)
    both = socket.socketpair()
    yield both
    for end in both:
        end.close()


def test_a_closed_connection_is_a_loss(pair: Pair) -> None:
    lost = threading.Event()
    watch(pair[:1], lost.set)
    pair[1].close()
    assert lost.wait(5)


def test_silence_is_a_loss(pair: Pair) -> None:
    lost = threading.Event()
    watch(pair[:1], lost.set)
    assert not lost.wait(0.3)
    assert lost.wait(5)


def test_who_is_watched_is_heard(pair: Pair) -> None:
    """Two that watch each other hear enough to be at ease."""
    lost = threading.Event()
    leave = [watch([end], lost.set) for end in pair]
    assert not lost.wait(1.5)
    leave[0]()
    pair[0].close()
    assert not lost.wait(0.5)  # a good-bye: what comes after is no loss


def test_one_of_many_is_enough(pair: Pair) -> None:
    lost = threading.Event()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname()) as near:
            far, _ = server.accept()
            watch([pair[0], near], lost.set)
            leave = watch([pair[1]], lambda: None)
            far.close()
            assert lost.wait(0.4)  # sooner than by silence
            leave()


def test_a_watch_that_is_late_finds_its_connections_closed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread starts when this process has left already, on a busy machine."""
    closed, failed = threading.Event(), []

    class Late(threading.Thread):
        def run(self) -> None:
            closed.wait()
            super().run()

    monkeypatch.setattr(heartbeat.threading, "Thread", Late)
    monkeypatch.setattr(threading, "excepthook", failed.append)
    before = set(threading.enumerate())
    leave = watch(pair[:1], lambda: None)
    leave()
    pair[0].close()
    closed.set()
    for late in set(threading.enumerate()) - before:
        late.join()
    assert not failed


def test_one_process_has_no_connections() -> None:
    assert connect("127.0.0.1") == []
