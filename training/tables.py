"""Writes docs/results.md and its plots from the results files. The only part of that page written by hand is `discussion.md`.

    python training/tables.py
"""
from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import allocation_tables
import compression_tables
import domains
import family_tables
import few_tables
import network as net
import seed_tables
from page import COLOURS, COLUMNS, read, score, table

HERE = Path(__file__).parent
# Folders of results beside those of whole training sets with seed 0.
FOLDERS = ("search", "fewshot", "fewshot/own-rate", "seeds", "starts", "allocation")


def by_design(results: list[dict]) -> dict[str, dict[str, dict]]:
    """Results by domain and design, in the order of the table of domains; runs on the full data only."""
    found = {d: {r["design"]: r for r in results if r["domain"] == d} for d in domains.DOMAINS}
    return {d: designs for d, designs in found.items() if designs}


def decathlon(error: float, baseline: float) -> float:
    """Points of one domain: 1000 Emax^-2 max(0, Emax - E)^2, where Emax is twice the fine-tuning error, at most 1."""
    emax = min(1.0, 2 * baseline)
    return 1000 * (max(0.0, emax - error) / emax) ** 2 if emax else 1000.0 * (error == 0)


def epochs(run: dict) -> str:
    return f"{run['recipe']['epochs']}{'+' if ' --start ' in run['command'] else ''}"


def accuracy_section(found: dict) -> list[str]:
    rows = []
    for d, designs in found.items():
        best, p = max(score(r) for r in designs.values()), designs.get("parallel")

        def cell(design: str) -> str:
            if design not in designs:
                return ""
            own = designs[design]
            text = f"**{score(own):.2f}**" if score(own) == best else f"{score(own):.2f}"
            return text if design == "feature" or not p or epochs(own) == epochs(p) else f"{text} ({epochs(own)})"

        gain = f"{score(p) - score(designs['feature']):+.1f}" if p and "feature" in designs else ""
        first = p or next(iter(designs.values()))
        rows.append([d, f"{first['classes']:,}", f"{first['images']['train']:,}", f"{first['images']['test']:,}",
                     epochs(p) if p else "", *map(cell, COLUMNS), gain])
    limited = [d for d, designs in found.items() if any(r["limit"] for r in designs.values())]
    lines = ["## Test accuracy", "",
             "Top-1 in percent on the whole test split, PyTorch fp32, one run each (seed 0). Bold: best of the row. Empty: not run. "
             "Epochs: of the parallel run; a design that had others has them in brackets (+: in its last cycle, which began with the weights of the one before). "
             "feature trains a linear head on fixed features. Train: images used; aircraft and cifar100 take their `val` split too."
             + (f" First images of each class only: {', '.join(limited)}." if limited else ""), ""]
    return lines + table(["domain", "classes", "train", "test", "epochs", *COLUMNS, "parallel over feature"], rows)


def decathlon_section(found: dict) -> list[str]:
    tuned = [d for d, designs in found.items() if "finetune" in designs]
    if not tuned:
        return []
    rows, totals = [], defaultdict(dict)
    for d in tuned:
        baseline = 1 - score(found[d]["finetune"]) / 100
        cells = []
        for c in COLUMNS:
            points = decathlon(1 - score(found[d][c]) / 100, baseline) if c in found[d] else None
            cells.append("" if points is None else f"{points:.0f}")
            if points is not None:
                totals[c][d] = points
        rows.append([d, f"{min(1.0, 2 * baseline):.3f}", *cells])
    whole = [d for d in tuned if all(c in found[d] for c in COLUMNS if c != "scratch")]
    if whole:
        sums = [sum(totals[c][d] for d in whole) if all(d in totals[c] for d in whole) else None for c in COLUMNS]
        rows.append([f"**sum of {len(whole)}**", "", *["" if v is None else f"**{v:.0f}**" for v in sums]])
    return ["## Decathlon score", "",
            "S = sum of 1000 Emax^-2 max(0, Emax - E)^2, Emax twice our fine-tuning error, at most 1: fine-tuning itself scores 250 a "
            "domain where Emax is below 1. Only domains on which fine-tuning was run; the sum is over those on which every design was, scratch apart.",
            ""] + table(["domain", "Emax", *COLUMNS], rows)


def parameters_section(found: dict) -> list[str]:
    p = next(designs["parallel"] for designs in found.values() if "parallel" in designs)["parameters"]
    # Results files count the four arrays of a normalisation. Inference needs two: scale and bias.
    affine = p["normalisation"] // 2
    one, adapter = p["convolutions"] + affine, p["matrices"] + affine
    rows = [["one dedicated network", f"{one:,}", "1.00"], ["one parallel adapter", f"{adapter:,}", f"{adapter / one:.3f}"],
            ["one bn adapter", f"{affine:,}", f"{affine / one:.4f}"]]
    for n in (1, 10, 13):
        rows.append([f"trunk + {n} parallel adapter{'s' if n > 1 else ''}", f"{one + n * adapter:,}", f"{1 + n * adapter / one:.2f}"])
    rows.append(["ten dedicated networks", f"{10 * one:,}", "10.00"])
    return ["## Parameters", "",
            "Heads apart. One network is its 25 convolutions and a scale and a bias per normalised channel. The trunk brings its own "
            "normalisation (the base), so ten more domains make 2.1x; the paper's 2.0x counts the pretraining domain among its ten.",
            ""] + table(["what", "parameters", "x one network"], rows)


def plot(found: dict, folder: Path) -> None:
    """Bars of every design on every domain."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 3.8))
    shown = [c for c in COLUMNS if any(c in designs for designs in found.values())]
    for i, c in enumerate(shown):
        have = [(n, score(designs[c])) for n, designs in enumerate(found.values()) if c in designs]
        axes.bar([n + (i - (len(shown) - 1) / 2) * 0.8 / len(shown) for n, _ in have], [v for _, v in have],
                 0.8 / len(shown), color=COLOURS[c], label=c)
    axes.set_xticks(range(len(found)), list(found), rotation=30, ha="right")
    axes.set(ylabel="test accuracy, %", ylim=(0, 100))
    axes.legend(ncol=len(shown), frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.15))
    figure.savefig(folder / "designs.png", dpi=110, bbox_inches="tight")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--results", type=Path, default=HERE / "results")
    p.add_argument("--family", default="resnet26-half", help="the family's name, for the page")
    p.add_argument("--discussion", type=Path, default=HERE / "discussion.md", help="text written by hand for the end of the page")
    p.add_argument("--docs", type=Path, default=HERE.parent / "docs")
    args = p.parse_args()
    results = [r for r in read(args.results) if r["design"] in net.DESIGNS]
    search, few, own_rate, seeds, starts, allocation = (read(args.results / sub) for sub in FOLDERS)
    found, images = by_design(results), args.docs / "img"
    images.mkdir(parents=True, exist_ok=True)
    plot(found, images)
    few_tables.plot(few, own_rate, images)
    allocation_tables.plot(found, seeds, allocation, images)
    compression_tables.plot(args.results, found, images)
    runs = results + search + few + own_rate + seeds + starts + allocation
    hours = sum(r["seconds"] for r in runs) / 3600
    devices = sorted({r["device"] for r in results})
    machine = "on a shared two-core CPU with up to two runs side by side" if devices == ["cpu"] else f"on {', '.join(devices)}"
    lines = ["# Results", "",
             "Generated by `python training/tables.py` from `training/results/*.json`; each of those names its command. "
             f"Family `{args.family}`, {len(runs)} runs, {hours:.1f} hours of run time in all, {machine}.", "", "![designs](img/designs.png)", ""]
    lines += accuracy_section(found)
    for name, runs in family_tables.families(args.results).items():
        lines += family_tables.section(name, runs, found)
    lines += seed_tables.section(found, seeds, starts)
    lines += allocation_tables.section(found, seeds, allocation)
    lines += compression_tables.section(args.results, found)
    lines += parameters_section(found)
    lines += decathlon_section(found)
    lines += few_tables.few_section(few, own_rate)
    lines += few_tables.search_section(search)
    lines.append(args.discussion.read_text().rstrip())
    (args.docs / "results.md").write_text("\n".join(lines) + "\n")
    print(args.docs / "results.md")


if __name__ == "__main__":
    main()
