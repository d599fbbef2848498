"""Requests to stop: the first is heeded when it suits, the second at once, even in the midst of a compiled program."""

from __future__ import annotations

import _thread
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["STOPPED", "stop_requests"]

# What a shell calls a command that SIGINT ended.
STOPPED = 130

# So long the main thread may take to clean up after a second request before the process is ended without it.
GRACE_SECONDS = 1.0

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requests(
    asked: Callable[[], None] = lambda: None, leaving: Callable[[], None] = lambda: None
) -> Iterator[list[int]]:
    """Turn SIGINT and SIGTERM into entries of a list; a second one ends the process.

    Python's own handlers wait until the main thread comes back from compiled code, and two signals that came in the
    meantime are one to them.  So a thread listens, to which the C handler writes every signal as it comes.

    Args:
      asked: called at the first request, from another thread.
      leaving: called before the process is ended without cleaning up, from another thread.
    """
    received: list[int] = []
    left = threading.Event()
    reading, writing = socket.socketpair()
    writing.setblocking(False)

    def listen() -> None:
        while numbers := reading.recv(64):
            for number in numbers:
                if number in SIGNALS and not left.is_set():
                    received.append(number)
                    if len(received) == 1:
                        asked()
                        continue
                    _thread.interrupt_main()
                    if not left.wait(GRACE_SECONDS):
                        leaving()
                        os._exit(STOPPED)
                    return

    def handle(number: int, frame: Any) -> None:
        if len(received) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield received
    except KeyboardInterrupt:
        raise SystemExit(STOPPED) from None
    finally:
        left.set()
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        writing.close()
        listener.join()
        reading.close()
