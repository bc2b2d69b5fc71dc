"""One command over one channel: both ways at once, bounded, with deadlines. Knows nothing about sudo or the engine.

Fabric's `run` reads 1000 bytes at a time in three polling threads, and its timeout leaves the remote process running;
paramiko's own file objects can deadlock (engine.md A3). So the channel is driven here: the calling thread reads stdout
and stderr together, and a second thread writes where the input is larger than the window.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from paramiko.common import cMSG_CHANNEL_REQUEST
from paramiko.message import Message

if TYPE_CHECKING:
    from paramiko import Channel

__all__ = ["Running", "Tail", "start"]

PIECE = 256 * 1024
"""Bytes given to paramiko at once: it copies what is left of a buffer for every packet."""

LINGER = 1.0
"""Seconds to wait for the end of stdout after the command has exited: a daemon that it left may hold it open."""


class Tail:
    """The end of a stream that may be endless, at most twice `limit` bytes of it."""

    def __init__(self, limit: int = 64 * 1024) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.dropped = 0

    def add(self, data: bytes) -> None:
        self._kept += data
        surplus = len(self._kept) - self._limit
        if surplus > self._limit:
            del self._kept[:surplus]
            self.dropped += surplus

    def cut(self, word: bytes) -> None:
        """Drop everything up to and including the last `word`."""
        self._kept = self._kept[self._kept.rfind(word) + len(word) :] if word in self._kept else self._kept

    def __bytes__(self) -> bytes:
        return bytes(self._kept)

    def text(self) -> str:
        start = f"[{self.dropped} bytes left out]\n" if self.dropped else ""
        return start + self._kept.decode("utf-8", "replace")


class _Wake:
    """One bell for both buffers of a channel. paramiko would clear a shared event when *one* of them is empty."""

    def __init__(self, bell: threading.Event) -> None:
        self._bell = bell

    def set(self) -> None:
        self._bell.set()

    def clear(self) -> None:
        """Nothing: the reader clears the bell itself, before it looks into both buffers."""


class Running:
    """A command on its channel. `read` waits for output and collects it; `write` never blocks the reader."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.stderr = Tail()
        self._bell = threading.Event()
        wake = _Wake(self._bell)
        channel.in_buffer.set_event(wake)  # type: ignore[arg-type]  # it calls nothing but set and clear
        channel.in_stderr_buffer.set_event(wake)  # type: ignore[arg-type]

    def read(self, timeout: float) -> bytes:
        """What stdout has, waiting at most `timeout` seconds for anything at all to happen."""
        self._bell.wait(max(timeout, 0.0))
        self._bell.clear()
        out = bytearray()
        while self.channel.recv_ready():
            out += self.channel.recv(PIECE)
        while self.channel.recv_stderr_ready():
            self.stderr.add(self.channel.recv_stderr(PIECE))
        return bytes(out)

    @property
    def drained(self) -> bool:
        return not self.channel.recv_ready() and not self.channel.recv_stderr_ready()

    @property
    def exited(self) -> bool:
        return self.channel.exit_status_ready()

    @property
    def finished(self) -> bool:
        """The peer has closed the channel, or it has exited and said that nothing more comes."""
        return bool(self.channel.closed or (self.exited and self.channel.eof_received)) and self.drained

    def write(self, data: bytes, *, last: bool, until: float) -> None:
        """Send `data`; at once where it fits the window, else from a thread. `last` closes stdin behind it."""
        if len(data) <= self.channel.out_window_size:
            self._send(data, last, until)
            return
        name = f"stdin-{self.channel.get_id()}"
        threading.Thread(target=self._send, args=(data, last, until), name=name, daemon=True).start()

    def _send(self, data: bytes, last: bool, until: float) -> None:  # noqa: FBT001
        # A command that ends without reading its input is no error of ours: its reply tells.
        with contextlib.suppress(OSError, EOFError):
            view = memoryview(data)
            for start in range(0, len(data), PIECE):
                self.channel.settimeout(max(until - time.monotonic(), 0.01))
                self.channel.sendall(view[start : start + PIECE])  # type: ignore[arg-type]  # any buffer
            if last:
                self.channel.shutdown_write()

    def collect(self, give: Callable[[bytes], None], until: float) -> bool:
        """Read to the end; False when the clock (monotonic `until`) was first."""
        exited_at: float | None = None
        while not self.finished:
            now = time.monotonic()
            if now >= until:
                return False
            if exited_at is not None and now - exited_at > LINGER:
                return True
            data = self.read(min(until - now, LINGER / 2 if self.exited else LINGER))
            if data:
                give(data)
            exited_at = (exited_at or time.monotonic()) if self.exited and not data else None
        give(self.read(0))
        return True

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.channel.close()


def start(channel: Channel, line: str) -> Running:
    """Run `line` there, without waiting for consent: that is a round trip, and paramiko waits for it without limit."""
    running = Running(channel)
    message = Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("exec")
    message.add_boolean(False)  # noqa: FBT003  # no reply wanted
    message.add_string(line)
    channel.transport._send_user_message(message)  # type: ignore[union-attr]
    return running
