"""What the sections of docs/results.md share: reading of results files, tables in Markdown, means and errors over seeds.

What it does not know: any one section.
"""
from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import mean, stdev

COLUMNS = ("feature", "bn", "series", "parallel", "finetune", "scratch")
COLOURS = {"feature": "#9aa5b1", "bn": "#7fb3d5", "series": "#2e86c1", "parallel": "#1b4f72", "finetune": "#d68910", "scratch": "#c0a080"}


def read(folder: Path) -> list[dict]:
    return [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))]


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)] + ["| " + " | ".join(r) + " |" for r in rows] + [""]


def score(result: dict) -> float:
    return result["accuracy"]["test"]


def seed_of(result: dict) -> int:
    return result["recipe"]["seed"]


def spread(values: list[float]) -> float:
    """Sample standard deviation; 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def with_spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation (number), the middle left out for a single value; empty for none."""
    if not values:
        return ""
    deviation = f" ± {spread(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{deviation} ({len(values)})"


def difference(a: list[float], b: list[float]) -> tuple[float, float]:
    """Mean of a minus mean of b, and its standard error over seeds that were drawn for each alone. Needs two of each, or the error is not
    known (NaN)."""
    if min(len(a), len(b)) < 2:
        return mean(a) - mean(b), math.nan
    return mean(a) - mean(b), math.sqrt(sum(spread(v) ** 2 / len(v) for v in (a, b)))


def signed(value: float, error: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}" + ("" if math.isnan(error) else f" ± {error:.{digits}f}")


def mean_of(differences: list[tuple[float, float]]) -> tuple[float, float]:
    """The mean of independent (value, standard error) pairs, with its standard error."""
    n = len(differences)
    return mean(v for v, _ in differences), math.sqrt(sum(e**2 for _, e in differences)) / n


def paired(a: dict[int, float], b: dict[int, float]) -> str:
    """Mean of a - b over the seeds that both have, with its standard error."""
    differences = [a[seed] - b[seed] for seed in a if seed in b]
    if not differences:
        return ""
    return f"{mean(differences):+.1f}" + (f" ± {spread(differences) / math.sqrt(len(differences)):.1f}" if len(differences) > 1 else "")
