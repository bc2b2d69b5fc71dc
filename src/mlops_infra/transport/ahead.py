"""Connections that are opened before anybody asks: hosts shake hands while the questions are still being made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from mlops_infra.transport.target import Target

__all__ = ["Ahead"]

MOST = 256
"""Threads; hosts beyond that connect when they are asked."""

Open = Callable[[Target], Any]


class Ahead:
    """Each connection goes once, to whoever asks for its target first; what nobody wanted ends with `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._coming: dict[Target, Future[Any]] = {}

    def expect(self, targets: Iterable[Target], connect: Open) -> None:
        """Begin to connect, one thread each. They are daemons: an unreachable host does not keep the program."""
        with self._lock:
            new = [target for target in dict.fromkeys(targets) if target not in self._coming][:MOST]
            self._coming |= {target: Future() for target in new}
            work = [(target, self._coming[target]) for target in new]
        for target, future in work:
            threading.Thread(target=self._open, args=(target, future, connect), daemon=True).start()

    def take(self, target: Target) -> Any | None:
        """The connection, once it is there; None where it was not expected, or was taken before. Raises what opening it
        raised."""
        with self._lock:
            future = self._coming.pop(target, None)
        return None if future is None else future.result()

    def close(self, end: Callable[[Any], None]) -> None:
        """Ends what nobody took, and what is still coming as soon as it is there."""
        with self._lock:
            left, self._coming = self._coming, {}
        for future in left.values():
            future.add_done_callback(lambda done: None if done.exception() else end(done.result()))

    @staticmethod
    def _open(target: Target, future: Future[Any], connect: Open) -> None:
        try:
            future.set_result(connect(target))
        except BaseException as error:
            future.set_exception(error)  # it belongs to whoever asks
