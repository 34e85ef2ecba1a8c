"""The part of docs/results.md about domains that share bases: accuracy against parameters, beside the paper's own points.

Reads `bases/*.json` (`facet compress --report`), `compressed/<family>/*.json` (compress_sweep.py; `unseen/` below it: domains that
took no part) and `joint/*.json` (joint.py) of the results. What it does not know: how bases are chosen or trained; other sections of the page.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from family_tables import TEN
from page import score, table

# Mean top-1 of the Visual Decathlon's ten domains, and parameters as multiples of one network (Rebuffi, Bilen and Vedaldi, CVPR 2018, table 2).
PAPER = {"feature": (1.0, 54.28), "bn": (1.0, 71.76), "series": (2.0, 77.17), "parallel": (2.0, 78.07), "parallel, joint SVD": (1.5, 78.36)}
COLOURS = {"matrices, uniform": "#c0a080", "images, uniform": "#7fb3d5", "images, allotted": "#1b4f72", "trained alone": "#d68910", "trained together": "#c0392b"}


@dataclass
class Bases:
    """One way of choosing bases. `chosen`: by images or matrices, ranks alike or allotted; `networks`: trunk and ten domains as a multiple of one
    network, `whole`: the same before compression; `adapter`: numbers of a domain's adapter; `before`, `after`: mean accuracy in percent on the images that were measured."""

    chosen: str
    asked: str
    networks: float
    whole: float
    adapter: int
    kept: float
    before: float
    after: float
    images: int


def bases_of(report: dict) -> Bases:
    """What a report of `facet compress` says."""
    measured = report["domains"]
    chosen = f"{report['slots'][-1]['chosenBy']}, {report['want']['kind']}"
    asked = next(f"{value:g}{unit}" for key, unit in (("share", ""), ("kept", " of the energy"), ("bytes", " bytes")) if (value := report["want"].get(key)) is not None)
    return Bases(chosen, asked, report["networks"]["after"], report["networks"]["before"], report["adapter"]["after"], 100 * mean(slot["kept"] for slot in report["slots"]),
                 100 * mean(d["before"] for d in measured), 100 * mean(d["after"] for d in measured), sum(d["images"] for d in measured))


def read(results: Path) -> tuple[list[Bases], dict[str, dict[str, dict]], list[dict]]:
    """(bases without training, domains' runs by compressed family, runs of joint.py)"""
    load = lambda path: json.loads(path.read_text())
    bases = [bases_of(load(path)) for path in sorted(results.glob("bases/*.json"))]
    alone = {folder.name: {path.stem: load(path) for path in sorted(folder.glob("*.json"))} for folder in sorted(results.glob("compressed/*"))}
    order = list(COLOURS)
    bases.sort(key=lambda b: (-b.networks, order.index(b.chosen) if b.chosen in order else len(order)))
    return bases, {name: runs for name, runs in alone.items() if runs}, [load(path) for path in sorted(results.glob("joint/*.json"))]


def networks_of(adapter: int, bases: list[Bases]) -> float | None:
    """Of trunk and ten domains whose adapters have so many numbers, within a hundredth: ranks that take as much have the same count."""
    return next((b.networks for b in bases if abs(b.adapter / adapter - 1) < 0.01), None)


def accuracies(runs: dict[str, dict], today: dict[str, dict[str, dict]]) -> list[tuple[str, float, float, float]]:
    """(domain, its own parallel pack, that pack projected, and trained through the bases) of the ten domains that were run, whole test sets."""
    return [(d, score(today[d]["parallel"]), runs[d]["accuracy"]["start"], score(runs[d])) for d in TEN if d in runs and "parallel" in today.get(d, {})]


def section(results: Path, today: dict[str, dict[str, dict]]) -> list[str]:
    """The section, with `img/compression.png` in it (plot). `today`: results of the family that is compressed by domain and design."""
    bases, alone, together = read(results)
    if not bases:
        return []
    lines = ["## Domains that share bases", "",
             "Joint compression of ten domains' parallel packs ([compression.md](compression.md)). Networks: trunk with its bases and ten adapters as a multiple of one network, heads apart; "
             f"without compression {bases[0].whole:.2f}. *No training*: packs projected on the bases, "
             f"{bases[0].images:,} test images of the ten domains, mean of the domains' accuracies ({bases[0].before:.2f} by their own packs). "
             "`facet compress PACKS --family models/resnet26-half --images DIR --measure 250 --rank R [--uniform] [--limit 0] --report FILE`.", "",
             "![compression](img/compression.png)", ""]
    lines += table(["bases chosen by", "share of the rank", "networks", "numbers of an adapter", "energy kept", "accuracy", "lost"],
                   [[b.chosen, b.asked, f"{b.networks:.2f}", f"{b.adapter:,}", f"{b.kept:.1f}%", f"{b.after:.2f}", f"{b.before - b.after:.2f}"] for b in bases])
    for name, runs in alone.items():
        if accuracies(runs, today):
            lines += trained_alone(name, accuracies(runs, today), networks_of(next(iter(runs.values()))["parameters"], bases))
    lines += unseen_section(results)
    for run in together:
        lines += trained_together(run, networks_of(run["parameters"]["adapter"], bases))
    return lines


def trained_alone(name: str, rows: list[tuple[str, float, float, float]], networks: float | None) -> list[str]:
    size = f"{networks:.2f} networks, " if networks else ""
    cells = [[d, f"{pack:.2f}", f"{start:.2f}", f"{trained:.2f}", f"{trained - pack:+.2f}"] for d, pack, start, trained in rows]
    averages = [mean(row[n] for row in rows) for n in (1, 2, 3)]
    cells.append([f"**mean of {len(rows)}**", *(f"**{value:.2f}**" for value in averages), f"**{averages[2] - averages[0]:+.2f}**"])
    return [f"*Trained a little further, each domain by itself* ({size}`{name}`): `up`, scale, bias and head through the bases for at most 8 epochs, whole test sets "
            f"(`python training/compress_sweep.py --family models/{name} --packs adapters/{name} --data DIR`). A domain whose own pack had few steps gains by this training too.", "",
            *table(["domain", "own pack", "projected", "trained", "trained minus own"], cells)]


def unseen_section(results: Path) -> list[str]:
    """Domains that took no part when the bases were chosen, by compressed family."""
    rows = []
    for path in sorted(results.glob("compressed/*/unseen/*.json")):
        run = json.loads(path.read_text())
        found, lost = run["accuracy"], max(run["lost"].items(), key=lambda entry: entry[1], default=("no matrix", 0))
        trained = f"{found['test']:.2f}" if "test" in found else ""
        rows.append([run["family"], run["domain"], f"{found['full']:.2f}", f"{found['start']:.2f}", f"{lost[1]:.0f}% ({lost[0]})", trained])
    if not rows:
        return []
    return ["*Domains that took no part in the bases*, projected on them (whole test sets; `python training/compress_sweep.py --family models/NAME --packs adapters/resnet26-half --data DIR`, "
            "where `--project-only` leaves the training out):", "",
            *table(["bases of", "domain", "own pack", "projected", "lost of its output by the worst slot", "trained"], rows)]


def trained_together(run: dict, networks: float | None) -> list[str]:
    size = f"{networks:.2f} networks, " if networks else ""
    columns = ("pack", "start", "trained")
    cells = [[d, *(f"{scores[c]:.2f}" for c in columns), f"{scores['trained'] - scores['pack']:+.2f}"] for d, scores in run["accuracy"].items()]
    average = run["mean"]
    cells.append([f"**mean of {len(run['accuracy'])}**", *(f"**{average[c]:.2f}**" for c in columns), f"**{average['trained'] - average['pack']:+.2f}**"])
    return [f"*Trained together, the bases too* ({size}from `{run['compressed']}`): {run['recipe']['steps']:,} steps of {run['recipe']['batch']} images of every domain, whole test sets "
            f"(`{run['command']}`, {run['seconds'] / 3600:.1f} hours).", "", *table(["domain", "own pack", "projected", "trained", "trained minus own"], cells)]


def plot(results: Path, today: dict[str, dict[str, dict]], folder: Path) -> None:
    """Accuracy against parameters: ours on the left, the paper's points on the right."""
    bases, alone, together = read(results)
    if not bases:
        return
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (ours, paper) = plt.subplots(1, 2, figsize=(10, 4), gridspec_kw={"width_ratios": (3, 2)})
    for chosen in [c for c in COLOURS if any(b.chosen == c for b in bases)]:
        own = sorted((b.networks, b.after) for b in bases if b.chosen == chosen)
        ours.plot(*zip(*own), marker="o", color=COLOURS[chosen], label=f"no training, {chosen}")
    trained = [(networks_of(next(iter(runs.values()))["parameters"], bases), accuracies(runs, today)) for runs in alone.values()]
    points = sorted((networks, mean(row[3] for row in rows)) for networks, rows in trained if networks and len(rows) == len(TEN))
    if points:
        ours.plot(*zip(*points), marker="s", color=COLOURS["trained alone"], label="each domain trained further")
    points = sorted((networks_of(run["parameters"]["adapter"], bases), run["mean"]["trained"]) for run in together
                    if len(run["accuracy"]) == len(TEN) and networks_of(run["parameters"]["adapter"], bases))
    if points:
        ours.plot(*zip(*points), marker="D", color=COLOURS["trained together"], label="trained together, bases too")
    there = [today[d] for d in TEN if d in today]
    for design, networks in (("feature", 1.0), ("parallel", bases[0].whole)):
        if all(design in designs for designs in there):
            ours.plot(networks, mean(score(designs[design]) for designs in there), marker="*", markersize=11, linestyle="none", color="#111111")
            ours.annotate(design, (networks, mean(score(designs[design]) for designs in there)), textcoords="offset points", xytext=(0, 8), ha="center", fontsize=8)
    ours.set(title="ten domains, resnet26-half", ylabel="mean accuracy, %", xlabel="parameters, x one network")
    ours.margins(y=0.1)
    ours.legend(frameon=False, fontsize=8, loc="lower right")
    for name, (networks, accuracy) in PAPER.items():
        paper.plot(networks, accuracy, marker="*", markersize=11, color="#111111")
        paper.annotate(name, (networks, accuracy), textcoords="offset points", xytext=(0, -14 if name == "series" else 8), ha="center", fontsize=8)
    paper.set(title="the paper, Visual Decathlon", xlabel="parameters, x one network", ylim=(50, 82))
    for panel in (ours, paper):
        panel.set_xlim(0.85, 2.3)
    figure.tight_layout()
    figure.savefig(folder / "compression.png", dpi=110)
    plt.close(figure)
