"""Writes docs/results.md and its plots from the results files. The only part of that page written by hand is `discussion.md`.

    python training/tables.py
"""
from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import domains
import family_tables
import network as net

HERE = Path(__file__).parent
COLUMNS = ("feature", "bn", "series", "parallel", "finetune", "scratch")
COLOURS = {"feature": "#9aa5b1", "bn": "#7fb3d5", "series": "#2e86c1", "parallel": "#1b4f72", "finetune": "#d68910", "scratch": "#c0a080"}


def read(folder: Path) -> list[dict]:
    return [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))]


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)] + ["| " + " | ".join(r) + " |" for r in rows] + [""]


def by_design(results: list[dict]) -> dict[str, dict[str, dict]]:
    """Results by domain and design, in the order of the table of domains; runs on the full data only."""
    found = {d: {r["design"]: r for r in results if r["domain"] == d} for d in domains.DOMAINS}
    return {d: designs for d, designs in found.items() if designs}


def decathlon(error: float, baseline: float) -> float:
    """Points of one domain: 1000 Emax^-2 max(0, Emax - E)^2, where Emax is twice the fine-tuning error, at most 1."""
    emax = min(1.0, 2 * baseline)
    return 1000 * (max(0.0, emax - error) / emax) ** 2 if emax else 1000.0 * (error == 0)


def score(result: dict) -> float:
    return result["accuracy"]["test"]


def epochs(run: dict) -> str:
    return f"{run['recipe']['epochs']}{'+' if ' --start ' in run['command'] else ''}"


def spread(values: list[float]) -> float:
    """Sample standard deviation; 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def noise_section(found: dict, seeds: list[dict]) -> list[str]:
    """Designs with close accuracies: means over their seeds, and the errors of their differences from parallel."""
    groups = defaultdict(dict)
    for r in seeds + [r for designs in found.values() for r in designs.values()]:
        groups[r["domain"], r["design"]][r["recipe"]["seed"]] = score(r)
    designs = [c for c in COLUMNS if any(len(v) > 1 for (_, design), v in groups.items() if design == c)]
    if "parallel" not in designs:
        return []
    rows = []
    for d in [d for d in found if len(groups[d, "parallel"]) > 1]:
        cells = [f"{mean(v.values()):.2f} ± {spread(list(v.values())):.2f} ({len(v)})" if (v := groups[d, c]) else "" for c in designs]
        for c in designs:
            if c == "parallel":
                continue
            own, other = groups[d, "parallel"], groups[d, c]
            if len(other) < 2:
                cells.append("")
                continue
            error = math.sqrt(sum(spread(list(v.values())) ** 2 / len(v) for v in (own, other)))
            cells.append(f"{mean(own.values()) - mean(other.values()):+.2f} ± {error:.2f}")
        share = mean(groups[d, "parallel"].values()) / 100
        rows.append([d, *cells, f"{100 * math.sqrt(share * (1 - share) / found[d]['parallel']['images']['test']):.2f}"])
    return ["## How sure the small differences are", "",
            "Mean ± standard deviation over seeds (number of seeds); a seed draws the initial head, the order and the crops. Parallel minus each other design, ± the standard "
            "error of that difference over seeds. Last: one standard error that the number of test images alone brings to a parallel score; on top of "
            "the seeds', for all designs answer the same images.", ""] + \
        table(["domain", *designs, *(f"parallel - {c}" for c in designs if c != "parallel"), "test set's own"], rows)


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


def pivot(runs: list[dict], recipe, detail=None) -> tuple[list[str], list[list[str]]]:
    """(domains, rows): a row per design and recipe, a column per domain, means over seeds (their number in brackets if above 1).

    `recipe(run)` identifies the row of a run, `detail(run)` its figure within a cell.
    """
    places = [d for d in domains.DOMAINS if any(r["domain"] == d for r in runs)]
    rows = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for r in runs:
        rows[(r["design"], *recipe(r))][r["domain"]][detail(r) if detail else ""].append(r["accuracy"]["val"])

    def cell(found: dict[str, list[float]]) -> str:
        return ", ".join(f"{mean(v):.2f}{key}" + (f" ({len(v)})" if len(v) > 1 else "") for key, v in sorted(found.items()))

    order = sorted(rows, key=lambda k: (COLUMNS.index(k[0]), *k[1:]))
    return places, [[key[0], *(f"{v:g}" if isinstance(v, float) else str(v) for v in key[1:]), *(cell(rows[key][d]) for d in places)] for key in order]


def search_section(search: list[dict]) -> list[str]:
    """Tables of the validation runs: on whole training sets by domain and epochs, on few images by recipe."""
    whole, few = ([r for r in search if bool(r["shots"]) == wanted] for wanted in (False, True))
    lines = []
    if whole:
        names, rows = pivot(whole, lambda r: (r["recipe"]["lr"], r["recipe"]["weight_decay"], r["init"], float(r["dropout"])),
                            lambda r: f" at {r['recipe']['epochs']}")
        sizes = {r["domain"]: r["images"] for r in whole}
        held = ", ".join(f"{d} {sizes[d]['val']} of {sizes[d]['val'] + sizes[d]['train']:,}" for d in names)
        lines += ["## Choosing on validation", "", f"A fifth of train held out ({held}), test images never read. Accuracy \"at\" so many epochs; in brackets the "
                  "number of runs, where more than one.", ""] + table(["design", "lr", "weight decay", "init", "dropout", *names], rows)
    if few:
        names, rows = pivot(few, lambda r: (r["recipe"]["lr"], r["recipe"]["weight_decay"], schedule(r), r["recipe"]["steps"]))
        for row in rows:
            row.append(f"{mean(map(float, row[-len(names):])):.2f}" if all(row[-len(names):]) else "")
        lines += [f"The recipe of the runs with few examples: {few[0]['shots']} images a class, a fifth of train held out.",
                  ""] + table(["design", "lr", "weight decay", "resolutions", "steps", *names, "mean"], rows)
    return lines


def schedule(run: dict) -> str:
    return ", ".join(f"{side}: {share:.0%}" for side, share in run["recipe"]["schedule"])


def few_section(few: list[dict]) -> list[str]:
    if not few:
        return []
    groups, by_seed = grouped(few), defaultdict(dict)
    for r in few:
        by_seed[r["domain"], r["shots"], r["design"]][r["recipe"]["seed"]] = score(r)
    rows = []
    for d in dict.fromkeys(k[0] for k in groups):
        for shots in sorted({k[1] for k in groups if k[0] == d}):
            row = [d, str(shots)]
            for design in ("parallel", "finetune"):
                v = groups.get((d, shots, design), [])
                row.append("" if not v else f"{v[0]:.1f} (1)" if len(v) == 1 else f"{mean(v):.1f} ± {spread(v):.1f} ({len(v)})")
            rows.append(row + [paired(by_seed[d, shots, "parallel"], by_seed[d, shots, "finetune"])])
    recipe = few[0]["recipe"]
    return ["## Few examples", "",
            f"Images a class drawn at random from train, {recipe['steps']} steps of batches of {recipe['batch']} whatever their number, the whole "
            "test split. Learning rate and resolutions of each design were chosen by the mean over held-out training images of the three domains (below). Mean ± "
            "standard deviation over seeds (number of seeds); a seed draws the images and the order alike for both. Difference: mean over seeds ± its standard error.", "", "![few examples](img/fewshot.png)", ""] + \
        table(["domain", "images a class", "parallel", "finetune", "difference"], rows)


def paired(a: dict[int, float], b: dict[int, float]) -> str:
    """Mean of a - b over the seeds that both have, with its standard error."""
    differences = [a[seed] - b[seed] for seed in a if seed in b]
    if not differences:
        return ""
    return f"{mean(differences):+.1f}" + (f" ± {spread(differences) / math.sqrt(len(differences)):.1f}" if len(differences) > 1 else "")


def grouped(few: list[dict]) -> dict[tuple[str, int, str], list[float]]:
    groups = defaultdict(list)
    for r in few:
        groups[r["domain"], r["shots"], r["design"]].append(score(r))
    return groups


def plots(found: dict, few: list[dict], folder: Path) -> None:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
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
    groups = grouped(few)
    names = list(dict.fromkeys(k[0] for k in groups))
    if names:
        figure, panels = plt.subplots(1, len(names), figsize=(3.6 * len(names), 3.2), squeeze=False)
        for panel, d in zip(panels[0], names):
            for design in ("parallel", "finetune"):
                shots = sorted(k[1] for k in groups if k[0] == d and k[2] == design)
                values = [groups[d, s, design] for s in shots]
                panel.errorbar(shots, [mean(v) for v in values], [spread(v) for v in values], marker="o", capsize=3,
                               color=COLOURS[design], label=design)
            panel.set(title=d, xlabel="images a class", ylabel="test accuracy, %", xticks=[5, 10, 25])
            panel.legend(frameon=False)
        figure.tight_layout()
        figure.savefig(folder / "fewshot.png", dpi=110)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--results", type=Path, default=HERE / "results")
    p.add_argument("--family", default="resnet26-half", help="the family's name, for the page")
    p.add_argument("--discussion", type=Path, default=HERE / "discussion.md", help="text written by hand for the end of the page")
    p.add_argument("--docs", type=Path, default=HERE.parent / "docs")
    args = p.parse_args()
    results = [r for r in read(args.results) if r["design"] in net.DESIGNS]
    search, few, seeds = (read(args.results / sub) for sub in ("search", "fewshot", "seeds"))
    found = by_design(results)
    plots(found, few, args.docs / "img")
    hours = sum(r["seconds"] for r in results + search + few + seeds) / 3600
    devices = sorted({r["device"] for r in results})
    machine = "on a shared two-core CPU with up to two runs side by side" if devices == ["cpu"] else f"on {', '.join(devices)}"
    lines = ["# Results", "",
             "Generated by `python training/tables.py` from `training/results/*.json`; each of those names its command. "
             f"Family `{args.family}`, {len(results + search + few + seeds)} runs, {hours:.1f} hours of run time in all, {machine}.", "", "![designs](img/designs.png)", ""]
    families = family_tables.families(args.results)
    lines += accuracy_section(found)
    for name, runs in families.items():
        lines += family_tables.section(name, runs, found)
    lines += noise_section(found, seeds) + parameters_section(found) + decathlon_section(found) + few_section(few) + search_section(search)
    lines.append(args.discussion.read_text().rstrip())
    (args.docs / "results.md").write_text("\n".join(lines) + "\n")
    print(args.docs / "results.md")


if __name__ == "__main__":
    main()
