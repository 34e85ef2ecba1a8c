"""The parts of docs/results.md about few examples, and about what was chosen on held-out images.

What it does not know: other sections of the page.
"""
from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import mean

import domains
from page import COLOURS, COLUMNS, paired, score, seed_of, spread, table, with_spread


DESIGNS = ("parallel", "finetune")
Accuracies = dict[tuple[str, int, str], dict[int, float]]


def grouped(runs: list[dict]) -> Accuracies:
    """Accuracy by (domain, images a class, design) and seed."""
    groups = defaultdict(dict)
    for r in runs:
        groups[r["domain"], r["shots"], r["design"]][seed_of(r)] = score(r)
    return groups


def columns(groups: Accuracies, domain: str, shots: int) -> list[str]:
    """Cells: both designs, and the difference over the seeds that both have."""
    own = [groups.get((domain, shots, design), {}) for design in DESIGNS]
    return [*(with_spread(list(v.values()), 1) for v in own), paired(*own)]


def few_section(before: list[dict], after: list[dict]) -> list[str]:
    """`before`: one learning rate for all domains; `after`: a rate for each run, by the leave-one-out score of its own images."""
    if not before:
        return []
    old, new = grouped(before), grouped(after)
    rows = []
    for d in dict.fromkeys(d for d, _, _ in old):
        for shots in sorted({n for own, n, _ in old if own == d}):
            rows.append([d, str(shots), *columns(old, d, shots), *(columns(new, d, shots) if after else [])])
    recipe = before[0]["recipe"]
    lines = ["## Few examples", "",
             f"Images a class drawn at random from train, the whole test split. *One rate*: {recipe['steps']} steps of batches of {recipe['batch']} whatever the number of images; "
             "learning rate and resolutions of each design were chosen by the mean over held-out training images of the three domains (below). "]
    if after:
        lines[-1] += f"*Own rate*: {what(after)} No image but those trained on is read for that. "
    lines[-1] += ("Mean ± standard deviation over seeds (number of seeds); a seed draws the images and the order alike for both. Difference: parallel minus fine-tuning, mean over "
                  "seeds ± its standard error.")
    header = ["domain", "images a class", *(f"{design}, one rate" for design in DESIGNS), "difference"]
    header += [*(f"{design}, own rate" for design in DESIGNS), "difference"] if after else []
    return [*lines, "", "![few examples](img/fewshot.png)", "", *table(header, rows)]


def what(runs: list[dict]) -> str:
    """The recipes of runs with a rate of their own, in words."""
    told = []
    for design in DESIGNS:
        own = next((r for r in runs if r["design"] == design), None)
        if own:
            rates = ", ".join(own["rates"])
            told.append(f"{design} {means_of(own)}, rates {rates}")
    return "; ".join(told) + ": each run keeps the largest rate whose features have, by a ridge head with each of its images left out in turn, a score within one standard error of the best."


def means_of(run: dict) -> str:
    """What differs from the plain recipe: optimiser, loss, statistics."""
    r = run["recipe"]
    loss = "loss of class means" if r.get("loss") == "prototype" else "linear head"
    statistics = f"statistics blended (n / (n + {run['blend']:g}))" if "blend" in run else "batch statistics"
    return f"{r['steps']} steps of {r.get('optimizer', 'sgd')}, batches of at most {r['batch']}, {loss}, {statistics}"


def plot(before: list[dict], after: list[dict], folder: Path) -> None:
    """Accuracy against images a class: one rate dashed, own rate solid."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = [(grouped(runs), style, label) for runs, style, label in ((before, "--", "one rate"), (after, "-", "own rate")) if runs]
    names = list(dict.fromkeys(d for groups, _, _ in kinds for d, _, _ in groups))
    if not names:
        return
    figure, panels = plt.subplots(1, len(names), figsize=(3.6 * len(names), 3.2), squeeze=False)
    for panel, d in zip(panels[0], names):
        for groups, style, label in kinds:
            for design in DESIGNS:
                shots = sorted(n for own, n, other in groups if own == d and other == design)
                if not shots:
                    continue
                values = [list(groups[d, n, design].values()) for n in shots]
                panel.errorbar(shots, [mean(v) for v in values], [spread(v) for v in values], marker="o", capsize=3, linestyle=style,
                               color=COLOURS[design], label=f"{design}, {label}")
        panel.set(title=d, xlabel="images a class", ylabel="test accuracy, %", xticks=[5, 10, 25])
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / "fewshot.png", dpi=110)
    plt.close(figure)


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
        names, rows = pivot(few, lambda r: (r["recipe"]["lr"], r["recipe"]["weight_decay"], schedule(r), r["recipe"]["steps"], r["recipe"].get("optimizer", "sgd"),
                                            r["recipe"].get("loss", "linear"), f"{r['blend']:g}" if "blend" in r else "batch"))
        for row in rows:
            row.append(f"{mean(map(float, row[-len(names):])):.2f}" if all(row[-len(names):]) else "")
        lines += [f"The recipe of the runs with few examples: {few[0]['shots']} images a class, a fifth of train held out. Statistics: of the batch, or blended with the source's, whose share is k / (n + k) with the "
                  "number given and n images.",
                  ""] + table(["design", "lr", "weight decay", "resolutions", "steps", "optimiser", "loss", "statistics", *names, "mean"], rows)
    return lines


def schedule(run: dict) -> str:
    return ", ".join(f"{side}: {share:.0%}" for side, share in run["recipe"]["schedule"])
