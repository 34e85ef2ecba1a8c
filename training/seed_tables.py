"""The part of docs/results.md about differences that are small: several seeds of the designs, and the paper's starts and dropout.

What it does not know: other sections of the page.
"""
from __future__ import annotations

import math
from collections import defaultdict
from statistics import mean

from page import COLUMNS, difference, mean_of, score, seed_of, signed, table, with_spread


def by_seed(found: dict[str, dict[str, dict]], seeds: list[dict]) -> dict[tuple[str, str], dict[int, float]]:
    """Accuracy by (domain, design) and seed, of runs with as many epochs as the domain's parallel run with seed 0."""
    groups = defaultdict(dict)
    for r in [r for designs in found.values() for r in designs.values()] + seeds:
        first = found.get(r["domain"], {}).get("parallel")
        if first and r["recipe"]["epochs"] == first["recipe"]["epochs"]:
            groups[r["domain"], r["design"]][seed_of(r)] = score(r)
    return groups


def section(found: dict[str, dict[str, dict]], seeds: list[dict], starts: list[dict]) -> list[str]:
    """Designs with close accuracies: means over their seeds, and the errors of their differences from parallel."""
    groups = by_seed(found, seeds)
    designs = [c for c in COLUMNS if any(len(v) > 1 for (_, design), v in groups.items() if design == c)]
    if "parallel" not in designs:
        return []
    others, differences, rows = [c for c in designs if c != "parallel"], defaultdict(list), []
    for d in [d for d in found if len(groups[d, "parallel"]) > 1]:
        values = {c: list(groups[d, c].values()) for c in designs}
        cells = []
        for c in others:
            if len(values[c]) < 2:
                cells.append("")
                continue
            differences[c].append(difference(values["parallel"], values[c]))
            cells.append(signed(*differences[c][-1]))
        share = mean(values["parallel"]) / 100
        own = 100 * math.sqrt(share * (1 - share) / found[d]["parallel"]["images"]["test"])
        rows.append([d, *(with_spread(values[c], 2) for c in designs), *cells, f"{own:.2f}"])
    if len(rows) > 1:
        rows.append(["**mean**", *("" for _ in designs), *(f"**{signed(*mean_of(differences[c]))}** ({len(differences[c])})" if differences[c] else "" for c in others), ""])
    lines = ["## How sure the small differences are", "",
             "Mean ± standard deviation over seeds (number of seeds); a seed draws the initial head, the order and the crops. Only runs with the epochs of the parallel ones. "
             "Parallel minus each other design, ± the standard error of that difference over seeds; in the last row the mean over domains (their number). Last column: one standard error "
             "that the number of test images alone brings to a parallel score; on top of the seeds', for all designs answer the same images.", ""] + \
        table(["domain", *designs, *(f"parallel - {c}" for c in others), "test set's own"], rows)
    return lines + starts_table(groups, starts)


def variant(run: dict) -> tuple[str, str]:
    return run["design"], "He's start" if run["init"] == "he" else f"dropout {run['dropout']:g}"


def starts_table(groups: dict[tuple[str, str], dict[int, float]], starts: list[dict]) -> list[str]:
    """Runs with the paper's start or dropout beside those without, which have the same seed."""
    if not starts:
        return []
    kinds = sorted({variant(r) for r in starts})
    tried = {(r["domain"], variant(r)): score(r) for r in starts}
    header = ["domain"]
    for design in dict.fromkeys(design for design, _ in kinds):
        header += [f"{design}, zero start", *(f"{design}, {what}" for own, what in kinds if own == design)]
    rows, changes = [], defaultdict(list)
    for d in dict.fromkeys(d for d, _ in groups):
        row, found = [d], False
        for design in dict.fromkeys(design for design, _ in kinds):
            zero = groups[d, design].get(0)
            row.append("" if zero is None else f"{zero:.2f}")
            for kind in (k for k in kinds if k[0] == design):
                value = tried.get((d, kind))
                row.append("" if value is None else f"{value:.2f}")
                if value is not None and zero is not None:
                    changes[kind].append(value - zero)
                    found = True
        if found:
            rows.append(row)
    told = "; ".join(f"{design} with {what} {mean(v):+.2f} on {len(v)} domain{'s' if len(v) > 1 else ''}" for (design, what), v in sorted(changes.items()))
    return [f"Matrices that start at zero, beside He's start (std sqrt(2 / Cout)) and dropout of the parallel branch, as in the paper; seed 0, one run each. On average: {told}.", ""] + table(header, rows)
