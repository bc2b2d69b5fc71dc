"""Dashboards in few words, and the JSON that Grafana wants, made of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Board", "Graph", "board_json"]

_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 3


@dataclass(frozen=True, slots=True)
class Graph:
    """A panel. `lines` are pairs of a query and its legend; `unit` is one of Grafana's (`percentunit`, `bytes`, `s` …).

    `number`: the latest value is shown large instead of a line over time.
    """

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    number: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard. `name` is its file's, and part of its address."""

    name: str
    title: str
    graphs: tuple[Graph, ...]


def board_json(board: Board) -> str:
    """The file, as Grafana provisions it."""
    return json.dumps(_board(board), separators=(",", ":")) + "\n"


def _board(board: Board) -> dict[str, Any]:
    return {
        "uid": f"mlops-infra-{board.name}",
        "title": board.title,
        "tags": ["mlops-infra"],
        "schemaVersion": 39,
        "editable": False,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "panels": [_panel(graph, index) for index, graph in enumerate(board.graphs)],
    }


def _panel(graph: Graph, index: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "prometheus"}
    at = {"x": index % _COLUMNS * _WIDTH, "y": index // _COLUMNS * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
    return {
        "id": index + 1,
        "type": "stat" if graph.number else "timeseries",
        "title": graph.title,
        "datasource": source,
        "gridPos": at,
        "fieldConfig": {"defaults": {"unit": graph.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": source,
                "expr": query,
                "legendFormat": legend,
                "instant": graph.number,
                "range": not graph.number,
            }
            for number, (query, legend) in enumerate(graph.lines)
        ],
    }
