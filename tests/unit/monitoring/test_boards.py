"""The dashboard Applications, asked of promtool with what the example's service tells, and with what others do not."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.phases.boards import DASHBOARDS

SERVICE = Path(__file__).resolve().parents[3] / "examples/ml-service/app/service.py"
POD = 'job="pods",namespace="shop",app="ml-service",pod="p"'
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
(APPLICATIONS,) = (board for board in DASHBOARDS if board.name == "applications")
QUERIES = {graph.title: graph.lines[0][0] for graph in APPLICATIONS.graphs}
FROM_THE_SERVICE = ("Throughput", "Errors", "95 % answered within")


def told(*, failed: int) -> list[dict[str, str]]:
    """What the service tells, as promtool's series: sixty predictions a minute, and who asks it whether it lives."""
    metrics = runpy.run_path(str(SERVICE))["Metrics"]()
    asked = [("/predict", 200, 0.02)] * (60 - failed) + [("/predict", 500, 0.02)] * failed
    for one in asked + [("/readyz", 503, 0.0001)] * 400 + [("/metrics", 200, 0.0001)] * 400:
        metrics.begin()
        metrics.end(*one)
    found = []
    for name, labels, value in SAMPLE.findall(re.sub("^#.*\n", "", metrics.text("1"), flags=re.MULTILINE)):
        series = f"{name}{{{labels + ',' if labels else ''}{POD}}}"
        found.append({"series": series, "values": f"0+{float(value):g}x10"})
    return [*found, {"series": f"up{{{POD}}}", "values": "1x10"}]


def answers(tmp_path: Path, series: list[dict[str, str]], expected: dict[str, float | None]) -> None:
    """Each graph's query gives the value for the service; None: nothing at all. Promtool judges."""
    tests: list[dict[str, Any]] = [
        {
            "expr": f"round({QUERIES[title]}, 0.001)",
            "eval_time": "10m",
            "exp_samples": [] if value is None else [{"labels": '{namespace="shop",app="ml-service"}', "value": value}],
        }
        for title, value in expected.items()
    ]
    file = tmp_path / "tests.yaml"
    file.write_text(json.dumps({"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}]}))
    program = shutil.which("promtool")
    assert program, "these tests need Prometheus' promtool: apt-get install prometheus"
    said = subprocess.run([program, "test", "rules", file], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize(("failed", "share"), [(6, 0.1), (0, 0)])
def test_the_examples_service_is_shown_without_what_kubelets_and_prometheus_ask(
    tmp_path: Path, failed: int, share: float
) -> None:
    values = {"Throughput": 1, "Errors": share, "95 % answered within": 0.024}
    answers(tmp_path, told(failed=failed), {**values, "Pods scraped": 1})


def test_a_pod_that_tells_nothing_of_requests_has_no_line_instead_of_zeros(tmp_path: Path) -> None:
    series = [{"series": f"up{{{POD}}}", "values": "1x10"}]
    answers(tmp_path, series, {**dict.fromkeys(FROM_THE_SERVICE), "Pods scraped": 1})
