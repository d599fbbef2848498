"""Requests to stop: the first is heeded when it suits, the second at once, even in the midst of a compiled program."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["STOPPED", "stop_requests"]

# What a shell calls a command that SIGINT ended.
STOPPED = 130

# So long it may take to give the terminal back when the process is to end at once.
GRACE_SECONDS = 1.0

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requests(
    asked: Callable[[], None] = lambda: None, leaving: Callable[[], None] = lambda: None
) -> Iterator[list[int]]:
    """Turn SIGINT and SIGTERM into entries of a list; a second one ends the process where it is.

    Python's own handlers wait until the main thread comes back from compiled code, and two signals that came in the
    meantime are one to them.  So a thread listens, to which the C handler writes every signal as it comes.  It does not
    raise anything in the main thread: an interpreter that shuts down while JAX computes may hang or crash.  What is on
    disk was written whole.

    Args:
      asked: called at the first request, from another thread.
      leaving: called before the process ends, from another thread.
    """
    received: list[int] = []
    left = threading.Event()
    reading, writing = socket.socketpair()
    writing.setblocking(False)

    def listen() -> None:
        while numbers := reading.recv(64):
            for number in numbers:
                if number not in SIGNALS or left.is_set():
                    continue
                received.append(number)
                if len(received) == 1:
                    asked()
                else:
                    last = threading.Thread(target=leaving, daemon=True)
                    last.start()
                    last.join(GRACE_SECONDS)
                    sys.stdout.flush()
                    os._exit(STOPPED)

    def handle(number: int, frame: Any) -> None:
        """In the place of Python's, which would raise; the thread does the work."""

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield received
    finally:
        left.set()
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        writing.close()
        listener.join()
        reading.close()
