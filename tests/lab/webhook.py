"""A receiver of alerts in a lab's network: what Alertmanager posts is kept, a line each."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ADDRESS", "Webhook"]

ADDRESS = "10.110.190.1"
PORT = 9095
_SERVE = """
import http.server, sys
from mlops_infra.lab.enter import enter_lab_network
enter_lab_network()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[1], "ab") as out:
            out.write(self.path.encode() + b" " + body.replace(b"\\n", b"") + b"\\n")
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer((sys.argv[2], int(sys.argv[3])), Handler).serve_forever()
"""


@dataclass
class Webhook:
    """Serves from its making until `stop`."""

    kept: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, kept: Path, environment: Mapping[str, str]) -> Webhook:
        kept.touch()
        words = [sys.executable, "-c", _SERVE, str(kept), ADDRESS, str(PORT)]
        return cls(kept, subprocess.Popen(words, env=dict(environment)))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def alerts(self, path: str = "/alerts") -> list[dict[str, Any]]:
        """Every alert of every notification that came to this path, oldest first."""
        assert self.process.poll() is None, "the receiver has ended"
        found: list[dict[str, Any]] = []
        for line in self.kept.read_text().splitlines():
            where, _, body = line.partition(" ")
            if where == path:
                found += json.loads(body)["alerts"]
        return found

    def has(self, alert: str, *, path: str = "/alerts", **labels: str) -> bool:
        """Whether a firing alert with this name and these labels has come."""
        return any(
            one["status"] == "firing"
            and one["labels"]["alertname"] == alert
            and all(one["labels"].get(key) == value for key, value in labels.items())
            for one in self.alerts(path)
        )

    def wait(self, alert: str, timeout: float, **labels: str) -> float:
        """Seconds until it came; the test fails after `timeout`."""
        begun = time.monotonic()
        while not self.has(alert, **labels):
            came = sorted({one["labels"]["alertname"] for one in self.alerts()})
            assert time.monotonic() < begun + timeout, f"{alert} {labels} did not come; these did: {came}"
            time.sleep(1)
        return time.monotonic() - begun
