"""The part of docs/results.md about where matrices are: accuracy against parameters, with errors over seeds.

What it does not know: how lists of slots are chosen (allocate.py); other sections of the page.
"""
from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import mean

from page import difference, mean_of, score, seed_of, signed, spread, table, with_spread
from seed_tables import by_seed

FIXED = ("early", "middle", "late", "early+late")
LISTS = {"as-early": "by data, early's budget", "as-middle": "by data, middle's budget", "half": "by data, half of all"}
SHADES = {"none": "#9aa5b1", "early": "#7fb3d5", "middle": "#2e86c1", "late": "#5b7c99", "early+late": "#1b4f72", "all": "#111111",
          "as-early": "#f5b041", "as-middle": "#d68910", "half": "#935116"}


def choice_of(run: dict) -> str:
    """The word of --slots, or the name of the list: `half` of `training/allocations/dtd10.half.txt`."""
    return Path(run["slots"]).stem.split(".")[-1] if run["slots"].endswith(".txt") else run["slots"]


def collected(found: dict, seeds: list[dict], runs: list[dict]) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, int]]]:
    """(accuracies, parameters of matrices) by choice and domain; `all` and `none` are the runs of parallel and bn."""
    values, parameters = defaultdict(dict), defaultdict(dict)
    groups = by_seed(found, seeds)
    for r in runs:
        values[choice_of(r)].setdefault(r["domain"], {})[seed_of(r)] = score(r)
        parameters[choice_of(r)][r["domain"]] = r["parameters"]["matrices"]
    for d in {r["domain"] for r in runs}:
        for choice, design in (("all", "parallel"), ("none", "bn")):
            if groups[d, design]:
                values[choice][d] = groups[d, design]
                parameters[choice][d] = found[d][design]["parameters"]["matrices"]
    order = [c for c in ("none", "early", "middle", "late", "early+late", "all", *LISTS) if c in values]
    return {c: {d: list(v.values()) for d, v in values[c].items()} for c in order}, parameters


def section(found: dict, seeds: list[dict], runs: list[dict]) -> list[str]:
    """The section, with `img/allocation.png` in it (plot)."""
    if not runs:
        return []
    values, parameters = collected(found, seeds, runs)
    places = [d for d in found if any(d in values[c] for c in FIXED if c in values)]
    rows = []
    for choice, by_domain in values.items():
        own = [d for d in places if d in by_domain]
        size = mean(parameters[choice][d] for d in own)
        share = size / mean(parameters["all"][d] for d in own)
        gaps = [difference(by_domain[d], values["all"][d]) for d in own]
        last = "" if choice == "all" else f"{signed(*mean_of(gaps))} ({len(own)})"
        rows.append([LISTS.get(choice, choice), f"{size:,.0f}", f"{share:.0%}", *(with_spread(by_domain.get(d, []), 2) for d in places), last])
    return ["## Where matrices are needed", "",
            "Parallel adapters with matrices at some slots only; the others have the domain's scale and bias. early, middle and late are the network's three stages (thirds of its slots), "
            "none is the bn design. \"By data\": slots whose removal cost most on a held-out fifth of train, within the parameters that early or middle has or half of all "
            "(`training/allocate.py`; the lists are in `training/allocations/`). Test accuracy, mean ± standard deviation over seeds (number of seeds). Last: mean over domains of "
            "the difference from all, ± its standard error over seeds (number of domains).", "", "![allocation](img/allocation.png)", ""] + \
        table(["matrices at", "parameters of matrices", "of all", *places, "minus all"], rows)


def plot(found: dict, seeds: list[dict], runs: list[dict], folder: Path) -> None:
    """Accuracy against the parameters of matrices, a panel for each domain."""
    if not runs:
        return
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    values, parameters = collected(found, seeds, runs)
    places = [d for d in found if any(d in values[c] for c in FIXED if c in values)]
    figure, panels = plt.subplots(1, len(places), figsize=(max(9.5, 3.3 * len(places)), 3.4), squeeze=False)
    for panel, d in zip(panels[0], places):
        for choice in (c for c in values if d in values[c]):
            own = values[choice][d]
            panel.errorbar(parameters[choice][d] / 1000, mean(own), spread(own), marker="D" if choice in LISTS else "o", capsize=3, linestyle="none",
                           color=SHADES[choice], label=LISTS.get(choice, choice))
        panel.set(title=d, xlabel="parameters of matrices, thousands")
    panels[0][0].set_ylabel("test accuracy, %")
    handles, labels = max((panel.get_legend_handles_labels() for panel in panels[0]), key=lambda found: len(found[0]))
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.legend(handles, labels, frameon=False, loc="lower center", ncol=len(labels), fontsize=8, columnspacing=1.2)
    figure.savefig(folder / "allocation.png", dpi=110)
    plt.close(figure)
