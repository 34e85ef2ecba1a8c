"""Rows of runs to a table and one JSON object: medians over the rounds, and ratios within each round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

#: The contestant that the others are compared with, where it races.
OURS = "facet"


@dataclass(frozen=True)
class Column:
    #: Where a row has the value; names joined by dots.
    path: str
    title: str
    #: Key of the summary in JSON.
    key: str


COLUMNS = (
    Column("rate", "images/s", "images_per_s"),
    Column("cpu_s_1000", "CPU s / 1000", "cpu_s_per_1000"),
    Column("p50", "p50 ms", "p50_ms"),
    Column("p99", "p99 ms", "p99_ms"),
    Column("single.p50", "p50 ms, 1 connection", "single_p50_ms"),
    Column("single.p99", "p99 ms, 1 connection", "single_p99_ms"),
    Column("memory_mb.private", "private MB", "private_mb"),
    Column("memory_mb.dirty", "dirty MB", "dirty_mb"),
    Column("memory_mb.proportional", "proportional MB", "proportional_mb"),
    Column("ready_s", "ready s", "ready_s"),
    Column("all_ready_s", "all domains s", "all_ready_s"),
    Column("add.ms", "add ms", "add_ms"),
    Column("failed", "failed", "failed"),
    Column("add.others_failed", "failed in add", "failed_in_add"),
)
#: What is divided by ours, round by round, so that what disturbs a whole round is divided out.
RATIOS = (
    Column("rate", "images/s : ours", "images_ratio"),
    Column("cpu_s_1000", "CPU : ours", "cpu_ratio"),
    Column("memory_mb.private", "private : ours", "private_ratio"),
)


def value(row: dict, path: str) -> float | None:
    found: object = row
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found


def values(rows: Iterable[dict], path: str) -> list[float]:
    return [found for row in rows if (found := value(row, path)) is not None]


def ratios(rows: list[dict], ours: list[dict], path: str) -> list[float]:
    """Those of the rounds in which both sides were measured."""
    by_round = {row["round"]: value(row, path) for row in ours}
    pairs = ((value(row, path), by_round.get(row["round"])) for row in rows)
    return [theirs / own for theirs, own in pairs if theirs is not None and own]


def number(of: float) -> str:
    """Three digits, which is more than a race's spread is worth."""
    return f"{of:.0f}" if abs(of) >= 100 else f"{of:.1f}" if abs(of) >= 10 else f"{of:.3g}"


def cell(of: list[float]) -> str:
    """The median, and the smallest and largest value where they differ."""
    if not of:
        return "-"
    middle, low, high = (number(f(of)) for f in (statistics.median, min, max))
    return middle if low == high else f"{middle} ({low}-{high})"


class Report:
    """All rows of a race."""

    def __init__(self, rows: list[dict]):
        self.rows = rows
        self.names = list(dict.fromkeys(row["name"] for row in rows))
        self.counts = list(dict.fromkeys(row["domains"] for row in rows))

    def of(self, name: str, count: int) -> list[dict]:
        """The runs of a contestant that came to their end."""
        return [row for row in self.rows if row["name"] == name and row["domains"] == count and "error" not in row]

    def errors(self) -> list[str]:
        """What went wrong, a line each: runs that broke, wrong answers, failed requests."""
        lines = []
        for row in self.rows:
            run = f"{row['name']}, {row['domains']} domains, round {row['round'] + 1}"
            lines += [f"{run}: {row[key]}" for key in ("error", "wrong") if key in row]
            for where in (row, row.get("single", {})):
                if where.get("failed"):
                    lines.append(f"{run}: {where['failed']} requests failed: {where['failure']}")
            if value(row, "add.others_failed"):
                lines.append(f"{run}: {row['add']['others_failed']} requests failed while a domain was added")
        return lines

    def table(self) -> str:
        """Markdown, one table for each number of domains."""
        titles = [column.title for column in (*COLUMNS, *RATIOS)]
        parts = []
        for count in self.counts:
            lines = [f"| {count} domains | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
            for name in self.names:
                rows = self.of(name, count)
                cells = [cell(values(rows, column.path)) for column in COLUMNS]
                cells += [cell(ratios(rows, self.of(OURS, count), column.path)) for column in RATIOS]
                lines.append(f"| {name}{served(rows)} | " + " | ".join(cells) + " |")
            parts.append("\n".join(lines))
        parts.append("\n".join(self.answers()))
        return "\n\n".join(parts)

    def answers(self) -> list[str]:
        """How each contestant's answers compare with the dedicated networks' on training's pixels."""
        lines = ["| answers | domains | largest difference of a score | other class | top-1 agreement, resized % |", "|---" * 5 + "|"]
        for row in self.rows:
            if answers := row.get("answers"):
                difference, other = f"{answers['difference']:.1e}", f"{answers['other_class']} of {answers['exact']}"
                lines.append(f"| {row['name']} | {row['domains']} | {difference} | {other} | {answers['agreement']} |")
        return lines

    def summary(self) -> list[dict]:
        """Medians, for the JSON line."""
        out = []
        for count in self.counts:
            for name in self.names:
                rows, entry = self.of(name, count), {"name": name, "domains": count}
                entry["rounds"] = len(rows)
                for column in COLUMNS:
                    if found := values(rows, column.path):
                        entry[column.key] = rounded(statistics.median(found))
                for column in RATIOS:
                    if found := ratios(rows, self.of(OURS, count), column.path):
                        entry[column.key] = rounded(statistics.median(found))
                out.append(entry)
        return out


def served(rows: list[dict]) -> str:
    """A note where fewer domains than asked for fit into memory."""
    counts = {row["served"] for row in rows if row["served"] != row["domains"]}
    return f" (with {', '.join(map(str, sorted(counts)))}: more do not fit)" if counts else ""


def rounded(of: float) -> float:
    return float(f"{of:.4g}")


def progress(row: dict) -> str:
    """A run in one line."""
    if "error" in row:
        return row["error"]
    single = f", alone {row['single']['p50']:.1f} ms" if row.get("single", {}).get("p50") else ""
    text = (
        f"{row['rate']:.0f} images/s, p50 {row['p50'] or 0:.1f} p99 {row['p99'] or 0:.1f} ms{single}, "
        f"{row['cpu_s_1000']:.2f} CPU s/1000 (load {100 * row['load_cores']:.0f}% of a core), "
        f"{row['memory_mb']['private']:.0f} MB private, ready {row['ready_s']:.2f} s, add {row['add']['ms']:.0f} ms, "
        f"{row['failed']} failed"
    )
    return f"{text}; WRONG: {row['wrong']}" if "wrong" in row else text
