"""The part of docs/results.md about families trained with train.py: their accuracy beside that of resnet26-half.

What it does not know: how runs are made; other sections of the page.
"""
from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

# The domains over which families are compared: the first ten of the table of domains.
TEN = ("aircraft", "cifar100", "gtsrb", "omniglot", "dtd10", "flowers90", "eurosat", "fashion_mnist", "blood_cells", "sketch")
DESIGNS = ("feature", "bn", "full")


def results_of(folder: Path) -> dict[tuple[str, str], dict]:
    """Results by domain and design."""
    runs = (json.loads(p.read_text()) for p in sorted(folder.glob("*.json")))
    return {(r["domain"], r["design"]): r for r in runs}


def families(results: Path) -> dict[str, dict[tuple[str, str], dict]]:
    """Families with results of their own: the folders in `families/` of the results."""
    found = {p.name: results_of(p) for p in sorted(results.glob("families/*"))}
    return {name: runs for name, runs in found.items() if runs}


def packs_of(designs: dict[str, dict]) -> list[dict]:
    """The results of designs that can be packs."""
    return [r for design, r in designs.items() if design in ("feature", "bn", "series", "parallel")]


def section(name: str, runs: dict[tuple[str, str], dict], today: dict[str, dict[str, dict]]) -> list[str]:
    """The section of one family. `today`: results of resnet26-half by domain and design."""
    score = lambda r: r["accuracy"]["test"]
    rows, best_of, before_of = [], {}, {}
    for domain in [d for d in today if any(key[0] == d for key in runs)]:
        own = {design: runs[domain, design] for design in DESIGNS if (domain, design) in runs}
        before = max(packs_of(today[domain]), key=score)
        best = max(own.values(), key=score)
        best_of[domain], before_of[domain] = score(best), score(before)
        cells = [(f"**{score(own[d]):.2f}**" if own[d] is best else f"{score(own[d]):.2f}") if d in own else "" for d in DESIGNS]
        trained = next((own[d] for d in ("full", "bn") if d in own), None)
        how = f"{trained['recipe']['epochs']}, {', '.join(f'{s}: {share:.0%}' for s, share in trained['recipe']['schedule'])}" if trained else ""
        rows.append([domain, str(best["classes"]), f"{best['images']['train']:,}", how, f"{score(before):.2f} ({before['design']})", *cells,
                     f"{score(best) - score(before):+.1f}"])
    ten = [d for d in TEN if d in best_of]
    rows.append([f"**mean of {len(ten)}**", "", "", "", f"**{mean(before_of[d] for d in ten):.2f}**", "", "", f"**{mean(best_of[d] for d in ten):.2f}**",
                 f"**{mean(best_of[d] - before_of[d] for d in ten):+.1f}**"])
    header = ["domain", "classes", "train", "epochs, resolutions", "resnet26-half", *DESIGNS, "difference"]
    counted = [r["accuracy"] for r in runs.values() if "differ" in r["accuracy"]]
    differ, compared = (sum(accuracy[key] for accuracy in counted) for key in ("differ", "compared"))
    hours = sum(r["seconds"] for r in runs.values()) / 3600
    missing = [d for d in TEN if d in today and d not in best_of]
    alone = mean(max(map(score, packs_of(today[d]))) for d in TEN if d in today)
    either = mean(max(score(r) for r in (*packs_of(today[d]), *(r for (domain, _), r in runs.items() if domain == d))) for d in TEN if d in today)
    return [
        f"## The family {name}", "",
        f"Top-1 in percent on the whole test split, by each pack's own fp16 numbers in the family's graph; the best pack of `resnet26-half` beside it. `full` trains all "
        f"that the family's slots take, `bn` scale and bias, `feature` a head on frozen features. {len(runs)} runs, {hours:.1f} hours of run time. Folding and rounding to fp16 "
        f"changed the class of {differ} of {compared:,} test images. Bold: the family's best (in the last row: the mean of the best); it ships where it is ahead."
        + (f" Not run yet: {', '.join(missing)}." if missing else ""), "",
        "| " + " | ".join(header) + " |", "|" + "---|" * len(header), *("| " + " | ".join(row) + " |" for row in rows), "",
        f"With the better of both families' packs for each of the ten domains the mean is {either:.2f}; with `resnet26-half` alone {alone:.2f}.", "",
        f"`python training/family_sweep.py --family models/{name} --data DIR` makes every run that is missing.", ""]
