"""Trains the model and writes model.json and golden.json beside this file: `python3 train.py`. Standard library only.

The model foretells the power that a building draws (kW) from outdoor temperature (°C), hour of the day, and whether it
is a working day: ridge regression over a few features. The data are made up, with a fixed seed, so that everybody who
runs this gets the same model to the last digit that matters.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

HERE = Path(__file__).parent
SAMPLES, SEED, RIDGE = 4000, 20, 1e-3
GOLDEN = (
    {"temperature": 3.0, "hour": 8, "working_day": True},
    {"temperature": 21.5, "hour": 14, "working_day": True},
    {"temperature": 31.0, "hour": 17, "working_day": False},
    {"temperature": -8.0, "hour": 2, "working_day": False},
)


def features(temperature: float, hour: float, working_day: bool) -> list[float]:
    """What the model sees; service.py has the same function, and test_service.py holds the two together."""
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


def draw(random_: random.Random) -> tuple[list[float], float]:
    temperature, hour = random_.uniform(-15, 38), random_.randrange(24)
    working_day = random_.random() < 5 / 7
    at_work = working_day and 7 <= hour <= 18
    power = 40 + 0.09 * (temperature - 18) ** 2 + (35 if at_work else 0) + random_.gauss(0, 3)
    return features(temperature, hour, working_day), power


def solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Gauss with pivots: seven unknowns need no library."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for column in range(size):
        pivot = max(range(column, size), key=lambda r: abs(rows[r][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(size):
            if row != column:
                factor = rows[row][column] / rows[column][column]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]


def train() -> list[float]:
    random_ = random.Random(SEED)
    samples = [draw(random_) for _ in range(SAMPLES)]
    size = len(samples[0][0])
    matrix = [
        [sum(x[i] * x[j] for x, _ in samples) + (RIDGE if i == j else 0) for j in range(size)] for i in range(size)
    ]
    return solve(matrix, [sum(x[i] * y for x, y in samples) for i in range(size)])


def main() -> None:
    weights = [round(w, 9) for w in train()]
    (HERE / "model.json").write_text(json.dumps({"version": "1", "weights": weights}, indent=2) + "\n")
    golden = [
        {"input": g, "output": round(sum(w * x for w, x in zip(weights, features(**g), strict=True)), 6)}
        for g in GOLDEN
    ]
    (HERE / "golden.json").write_text(json.dumps({"tolerance": 1e-4, "cases": golden}, indent=2) + "\n")


if __name__ == "__main__":
    main()
