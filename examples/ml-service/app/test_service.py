"""The service over a real socket: `python3 -m unittest` in this directory. Standard library only."""

from __future__ import annotations

import http.client
import json
import threading
import unittest
from pathlib import Path
from typing import Any

import service
import train

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text())


class Served(unittest.TestCase):
    def setUp(self) -> None:
        self.service = service.Service(("127.0.0.1", 0), service.Model(HERE / "model.json"))
        self.thread = threading.Thread(target=self.service.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def tearDown(self) -> None:
        self.service.shutdown()
        self.thread.join()
        self.service.server_close()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", self.service.server_address[1], timeout=5)
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        link.request(method, path, content)
        reply = link.getresponse()
        text = reply.read().decode()
        link.close()
        return reply.status, text

    def test_known_inputs_have_their_known_outputs(self) -> None:
        for case in GOLDEN["cases"]:
            code, text = self.ask("POST", "/predict", case["input"])
            self.assertEqual(code, 200)
            self.assertAlmostEqual(json.loads(text)["power_kw"], case["output"], delta=GOLDEN["tolerance"])

    def test_what_cannot_be_answered_is_the_callers_mistake_and_no_error_of_ours(self) -> None:
        wrong = (
            [],
            {"temperature": 1},
            {"temperature": "x", "hour": 1, "working_day": True},
            b"{",
            b"x" * 70000,
            {"temperature": 1, "hour": 24, "working_day": True},
            {"temperature": 1, "hour": 1, "working_day": 1},
        )
        for body in wrong:
            self.assertEqual(self.ask("POST", "/predict", body)[0], 400, body)
        self.assertIn("http_request_errors_total 0", self.ask("GET", "/metrics")[1])

    def test_requests_latency_and_errors_are_counted(self) -> None:
        self.ask("POST", "/predict", GOLDEN["cases"][0]["input"])
        self.service.model.weights = []
        self.assertEqual(self.ask("POST", "/predict", GOLDEN["cases"][0]["input"])[0], 500)
        text = self.ask("GET", "/metrics")[1]
        self.assertIn('http_requests_total{path="/predict",code="200"} 1', text)
        self.assertIn('http_request_duration_seconds_bucket{path="/predict",le="+Inf"} 2', text)
        self.assertIn('http_request_duration_seconds_count{path="/predict"} 2', text)
        self.assertIn("http_request_errors_total 1", text)

    def test_who_scans_makes_no_new_time_series(self) -> None:
        for number in range(5):
            self.assertEqual(self.ask("GET", f"/wp-login-{number}.php")[0], 404)
        self.assertIn('http_requests_total{path="other",code="404"} 5', self.ask("GET", "/metrics")[1])

    def test_a_service_that_ends_is_not_ready_and_still_answers(self) -> None:
        self.assertEqual(self.ask("GET", "/readyz")[0], 200)
        self.service.ending.set()
        self.assertEqual(self.ask("GET", "/readyz")[0], 503)
        self.assertEqual(self.ask("POST", "/predict", GOLDEN["cases"][0]["input"])[0], 200)


class Trained(unittest.TestCase):
    def test_training_gives_the_model_that_is_shipped(self) -> None:
        shipped = json.loads((HERE / "model.json").read_text())["weights"]
        for ours, theirs in zip(train.train(), shipped, strict=True):
            self.assertAlmostEqual(ours, theirs, places=5)

    def test_service_and_training_see_the_same(self) -> None:
        self.assertEqual(train.features(7.5, 13, True), service.features(7.5, 13, True))

    def test_the_model_is_worth_something(self) -> None:
        """Within 10 kW of what was drawn, in the mean, on data that it has not seen."""
        random_ = train.random.Random(99)
        weights = train.train()
        samples = [train.draw(random_) for _ in range(500)]
        off = [abs(sum(w * x for w, x in zip(weights, seen, strict=True)) - power) for seen, power in samples]
        self.assertLess(sum(off) / len(off), 10)


if __name__ == "__main__":
    unittest.main()
