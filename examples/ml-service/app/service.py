"""The service: predictions over HTTP, with what an operator wants to know of it. Standard library only.

POST /predict   {"temperature": 3.0, "hour": 8, "working_day": true}  ->  {"power_kw": 86.889175, "model": "1"}
GET  /healthz   the process lives            GET /readyz   the model is loaded, and it is not ending
GET  /metrics   requests, errors and latency, in Prometheus' text format
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
LIMIT = 64 * 1024
"""Bytes of a request's body."""
TOOK = "http_request_duration_seconds"
PATHS = ("/predict", "/healthz", "/readyz", "/metrics")


class BadRequest(Exception):
    """What the caller sent cannot be answered."""


class Model:
    """Weights from a file, judged by features."""

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_text("utf-8"))
        self.version = str(content["version"])
        self.weights = [float(w) for w in content["weights"]]

    def predict(self, asked: Any) -> float:
        """kW. Raises BadRequest."""
        if not isinstance(asked, dict):
            raise BadRequest("an object is wanted")
        try:
            temperature, hour, working_day = float(asked["temperature"]), float(asked["hour"]), asked["working_day"]
        except (KeyError, TypeError, ValueError) as error:
            raise BadRequest(f"temperature, hour and working_day are wanted: {error}") from error
        if not isinstance(working_day, bool) or not (-60 <= temperature <= 60 and 0 <= hour < 24):
            raise BadRequest("temperature is -60 to 60, hour is 0 to 23, working_day is true or false")
        return sum(w * x for w, x in zip(self.weights, features(temperature, hour, working_day), strict=True))


def features(temperature: float, hour: float, working_day: bool) -> list[float]:
    """As in train.py."""
    angle = 2 * math.pi * hour / 24
    return [
        1.0,
        temperature,
        temperature**2,
        math.sin(angle),
        math.cos(angle),
        float(working_day),
        float(working_day) * math.cos(angle),
    ]


class Metrics:
    """Counters of this process, under the usual names: the dashboard Applications and the alerts ask for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: Counter[tuple[str, float]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._flying = 0

    def begin(self) -> None:
        with self._lock:
            self._flying += 1

    def end(self, path: str, code: int, seconds: float) -> None:
        with self._lock:
            self._flying -= 1
            self._requests[path, code] += 1
            self._seconds[path] += seconds  # type: ignore[assignment]
            for bucket in BUCKETS:
                if seconds <= bucket:
                    self._buckets[path, bucket] += 1

    def text(self, model: str) -> str:
        with self._lock:
            lines = ["# HELP http_requests_total Requests that were answered.", "# TYPE http_requests_total counter"]
            lines += [
                f'http_requests_total{{path="{p}",code="{c}"}} {n}' for (p, c), n in sorted(self._requests.items())
            ]
            lines += [
                "# HELP http_request_errors_total Answers that were the service's fault.",
                "# TYPE http_request_errors_total counter",
                f"http_request_errors_total {sum(n for (_, c), n in self._requests.items() if c >= 500)}",
            ]
            lines += [
                f"# HELP {TOOK} How long answers took.",
                f"# TYPE {TOOK} histogram",
            ]
            for path in sorted({p for p, _ in self._requests}):
                count = sum(n for (p, _), n in self._requests.items() if p == path)
                lines += [f'{TOOK}_bucket{{path="{path}",le="{b}"}} {self._buckets[path, b]}' for b in BUCKETS]
                lines += [
                    f'{TOOK}_bucket{{path="{path}",le="+Inf"}} {count}',
                    f'{TOOK}_sum{{path="{path}"}} {self._seconds[path]:.6f}',
                    f'{TOOK}_count{{path="{path}"}} {count}',
                ]
            lines += [
                "# HELP http_requests_in_flight Requests that are being answered.",
                "# TYPE http_requests_in_flight gauge",
                f"http_requests_in_flight {self._flying}",
            ]
            lines += [
                "# HELP ml_model_info The model that answers.",
                "# TYPE ml_model_info gauge",
                f'ml_model_info{{version="{model}"}} 1',
            ]
        return "\n".join(lines) + "\n"


class Service(ThreadingHTTPServer):
    """`ending` is set by SIGTERM: /readyz says no, and what comes is answered until the grace is over."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], model: Model) -> None:
        super().__init__(address, Handler)
        self.model = model
        self.metrics = Metrics()
        self.ending = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, work: Any) -> None:
        began, path = time.perf_counter(), self.path.partition("?")[0]
        self.server.metrics.begin()
        code = 500
        try:
            code, kind, body = work(path)
            self._send(code, kind, body)
        except BadRequest as error:
            code = 400
            self._send(code, "application/json", json.dumps({"error": str(error)}))
        except (BrokenPipeError, ConnectionResetError):
            code = 499  # the caller has gone
            self.close_connection = True
        except Exception as error:
            print(json.dumps({"level": "error", "path": path, "error": repr(error)}), flush=True)
            self._send(500, "application/json", '{"error": "internal"}')
        finally:
            # Paths that are none of ours are one: who scans must not make new time series.
            self.server.metrics.end(path if path in PATHS else "other", code, time.perf_counter() - began)

    def _get(self, path: str) -> tuple[int, str, str]:
        if path == "/healthz":
            return 200, "text/plain", "ok\n"
        if path == "/readyz":
            return (503, "text/plain", "ending\n") if self.server.ending.is_set() else (200, "text/plain", "ok\n")
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4", self.server.metrics.text(self.server.model.version)
        return 404, "application/json", '{"error": "there is no such thing"}'

    def _post(self, path: str) -> tuple[int, str, str]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LIMIT:
            self.close_connection = True
            raise BadRequest(f"a Content-Length of at most {LIMIT} is wanted")
        body = self.rfile.read(int(length))
        if path != "/predict":
            return 404, "application/json", '{"error": "there is no such thing"}'
        try:
            asked = json.loads(body)
        except ValueError as error:
            raise BadRequest(f"not JSON: {error}") from error
        answer = {"power_kw": round(self.server.model.predict(asked), 6), "model": self.server.model.version}
        return 200, "application/json", json.dumps(answer)

    def _send(self, code: int, kind: str, body: str) -> None:
        content = body.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are counted, not written down: /metrics tells how many and how long."""


def main() -> None:
    path = Path(os.environ.get("MODEL", Path(__file__).with_name("model.json")))
    service = Service(("", int(os.environ.get("PORT", "8080"))), Model(path))
    grace = float(os.environ.get("GRACE", "5"))

    def end(number: int, frame: object) -> None:
        del number, frame
        service.ending.set()
        # Endpoints take a moment to forget a pod; until then it goes on answering.
        threading.Timer(grace, service.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    print(json.dumps({"level": "info", "model": service.model.version, "port": service.server_address[1]}), flush=True)
    service.serve_forever(poll_interval=0.2)
    sys.exit(0)


if __name__ == "__main__":
    main()
