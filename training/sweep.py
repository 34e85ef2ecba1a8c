"""Runs all missing runs of the plan, in order, several side by side. A sweep may be stopped and started again at any moment, and
several sweeps may share one work directory.

    python training/sweep.py --data DIR --trunk FILE --work training/runs [--stage search] [--plan]

A run is a `Run` here and a process of adapt.py; a finished run is a results file. What it does not know: how to train.
"""
from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
# The values of adapt.EXIT_RUN_IS_TAKEN and network.DESIGNS; importing those would load torch, which this process does not need.
EXIT_RUN_IS_TAKEN = 3
DESIGNS = ("feature", "bn", "series", "parallel", "finetune", "scratch")

# As many as two shared CPU cores could do. A results file holds the epochs of its run; delete it to run again with these.
EPOCHS = {"sign_digits": 20, "eurosat": 6, "fashion_mnist": 48, "dtd10": 20, "sketch": 24, "trashnet": 24, "ucmerced": 16,
          "flowers90": 24, "blood_cells": 6, "gtsrb": 6, "aircraft": 30, "cifar100": 7, "omniglot": 14}
# Drawings and photographs of 28 or 32 pixels lose little at a low resolution, so more of the run is spent there.
OPTIONS = {"cifar100": ["--schedule", "32:0.7,64:0.3"], "omniglot": ["--schedule", "32:0.5,48:0.2,64:0.3"],
           "fashion_mnist": ["--erase", "0.5", "--schedule", "32:0.5,48:0.25,64:0.25"]}
RATES = {("fashion_mnist", "parallel"): "0.3"}  # learning rates that differ from adapt.default_rate
FIRST = ("sign_digits", "eurosat", "fashion_mnist")
SMALL = ("sign_digits", "dtd10", "trashnet", "ucmerced", "sketch", "blood_cells")
# Domains and designs whose accuracies lie close together: they also run with these seeds, beside seed 0.
SEEDED, SEEDS = ("sketch", "trashnet", "ucmerced"), (1, 2)
SEEDED_DESIGNS = ("series", "parallel", "finetune")
# Searched on a held-out fifth of train: options by domain and design, in addition to the domain's own.
DECAYS = [{"--lr": "0.2", "--weight-decay": decay} for decay in ("1e-4", "5e-4", "2e-3")]
LONGER = [{"--epochs": "24"}]
SEARCH = {
    "sketch": {"parallel": DECAYS + LONGER, "series": LONGER, "finetune": LONGER},
    "trashnet": {"parallel": DECAYS + LONGER},
    "ucmerced": {"parallel": DECAYS},
}
FEW_DOMAINS, FEW_SHOTS, FEW_SEEDS = ("sign_digits", "sketch", "trashnet"), (5, 10, 25), (0, 1, 2)
# Runs on few images have a fixed number of steps: a few epochs over 50 images end before the adapters, which start at zero, have
# grown. The second number is tried once, to see whether steps are what is missing.
FEW_STEPS, FEW_MORE_STEPS = "300", "900"
SMALL_SIDES, LARGE_SIDES = "32:0.6,48:0.2,64:0.2", "48:0.6,64:0.4"
# Learning rates, weight decays and resolutions that are tried for each design, on a held-out fifth of each domain's train.
FEW_GRID = {
    "parallel": [(rate, "2e-3", SMALL_SIDES) for rate in ("0.1", "0.2", "0.4", "0.8")]
    + [("0.2", "2e-3", LARGE_SIDES)],
    "finetune": [(rate, "5e-4", SMALL_SIDES) for rate in ("0.02", "0.05", "0.1", "0.2")]
    + [("0.1", "5e-4", LARGE_SIDES)],
}
# The ones with the best mean over the domains.
FEW_CHOSEN = {"parallel": ("0.2", "2e-3", LARGE_SIDES), "finetune": ("0.1", "5e-4", LARGE_SIDES)}


@dataclass
class Run:
    """One run of adapt.py. Its results file is `<folder><name>.json`; `options` are adapt.py's arguments other than paths."""

    stage: str
    name: str
    options: list[str] = field(default_factory=list)
    folder: str = ""


def adaptation(stage: str, domain: str, design: str, seed: int = 0, epochs: int = 0) -> Run:
    """A run on the whole of train, measured on test."""
    options = ["--domain", domain, "--design", design]
    if design != "feature":
        options += OPTIONS.get(domain, []) + ["--epochs", str(epochs or EPOCHS[domain])]
    if (domain, design) in RATES:
        options += ["--lr", RATES[domain, design]]
    name = f"{domain}.{design}"
    return Run(stage, f"{name}.{seed}", [*options, "--seed", str(seed), "--name", f"{name}.{seed}"], "seeds/") if seed else Run(stage, name, options)


def tried(domain: str, design: str, changes: dict[str, str], seed: int = 0) -> Run:
    """A run of the search on four fifths of train, measured on the other fifth. `changes`: options in addition to the domain's own."""
    name = ".".join(["whole", domain, design, *(f"{k.strip('-')}{v}" for k, v in changes.items()), str(seed)]).replace(":", "_").replace(",", "_")
    epochs = [] if "--epochs" in changes else ["--epochs", str(EPOCHS[domain])]
    options = ["--domain", domain, "--design", design, *OPTIONS.get(domain, []), *epochs, *(word for pair in changes.items() for word in pair)]
    return Run("search", name, [*options, "--seed", str(seed), "--val-share", "0.2", "--name", name], "search/")


def few(stage: str, domain: str, design: str, shots: int, seed: int, rate: str, decay: str, sides: str, steps: str = FEW_STEPS) -> Run:
    """A run on `shots` images a class, measured on test, or, in the search, on a held-out fifth of train."""
    searching = stage == "search"
    tag = (".large" if sides == LARGE_SIDES else "") + (f".steps{steps}" if steps != FEW_STEPS else "")
    name = f"few.{domain}.{design}.lr{rate}.decay{decay}{tag}" if searching else f"{domain}.{design}.{shots}.{seed}"
    options = ["--domain", domain, "--design", design, "--shots", str(shots), "--seed", str(seed), "--steps", steps, "--batch", "32", "--schedule", sides,
               "--lr", rate, "--weight-decay", decay, "--name", name] + (["--val-share", "0.2"] if searching else [])
    return Run(stage, name, options, "search/" if searching else "fewshot/")


def every_design(epochs: int) -> list[Run]:
    """The plan for a GPU: all designs on all domains, with the same number of epochs."""
    return [adaptation("designs", d, design, epochs=epochs) for d in EPOCHS for design in DESIGNS]


def plan() -> list[Run]:
    """Every run of the project, the most useful first."""
    runs = [adaptation("parallel", d, "parallel") for d in FIRST]
    runs += [adaptation("parallel", d, "parallel") for d in EPOCHS if d not in FIRST]
    runs += [adaptation("designs", d, "feature") for d in EPOCHS]
    runs += [adaptation("designs", d, design) for d in SMALL[:3] for design in ("finetune", "bn", "series")]
    runs.append(adaptation("designs", "fashion_mnist", "finetune"))
    runs += [few("search", d, design, 10, 0, *pair) for d in FEW_DOMAINS for design, pairs in FEW_GRID.items() for pair in pairs]
    runs += [few("search", "sign_digits", design, 10, 0, *pair, FEW_MORE_STEPS) for design, pair in FEW_CHOSEN.items()]
    runs += [few("fewshot", d, design, shots, seed, *FEW_CHOSEN[design])
             for seed in FEW_SEEDS for d in FEW_DOMAINS for shots in FEW_SHOTS for design in FEW_CHOSEN]
    runs += [adaptation("designs", d, design) for d in SMALL[3:] for design in ("finetune", "bn", "series")]
    runs += [adaptation("designs", d, "scratch") for d in SMALL]
    runs += [tried(d, design, changes) for d, designs in SEARCH.items() for design, many in designs.items() for changes in many]
    runs += [adaptation("seeds", d, design, seed) for seed in SEEDS for d in SEEDED for design in SEEDED_DESIGNS]
    return runs


def done(run: Run, results: Path) -> bool:
    return (results / f"{run.folder}{run.name}.json").is_file()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--trunk", required=True)
    p.add_argument("--work", default="training/runs")
    p.add_argument("--results", default=str(HERE / "results"))
    p.add_argument("--jobs", type=int, default=2, help="runs side by side, one thread each: faster than one run on all cores")
    p.add_argument("--stage", action="append", help="only this stage (search, parallel, designs, seeds, fewshot); may be repeated")
    p.add_argument("--only", help="only runs whose name contains this")
    p.add_argument("--every-design", type=int, metavar="EPOCHS", help="another plan, for a GPU: all designs on all domains")
    p.add_argument("--plan", action="store_true", help="print the missing runs and stop")
    p.add_argument("extra", nargs="*", help="after --: further options for every adapt.py, such as --device cuda")
    args = p.parse_args()
    results = Path(args.results)
    runs = every_design(args.every_design) if args.every_design else plan()
    missing = [r for r in runs if not done(r, results) and (not args.stage or r.stage in args.stage)
               and (not args.only or args.only in r.name)]
    print(f"{len(missing)} of {len(runs)} runs missing")
    if args.plan:
        for r in missing:
            print(f"{r.stage:9} {r.folder}{r.name}  {' '.join(r.options)}")
        return

    running: dict[subprocess.Popen, Run] = {}
    stopping = []

    def stop(*_):
        stopping.append(True)
        for process in running:
            process.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    failed = []
    logs = Path(args.work) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    while (missing and not stopping) or running:
        while missing and not stopping and len(running) < args.jobs:
            run = missing.pop(0)
            if done(run, results):
                continue
            command = [sys.executable, str(HERE / "adapt.py"), "--data", args.data, "--trunk", args.trunk, "--work", args.work,
                       "--results", str(results / run.folder), "--threads", "1", *run.options, *args.extra]
            with open(logs / f"{run.name}.log", "ab") as log:
                running[subprocess.Popen(command, stdout=log, stderr=log)] = run
            print(time.strftime("%H:%M:%S"), "started", run.name, flush=True)
        time.sleep(0.5)
        for process in [p for p in running if p.poll() is not None]:
            run = running.pop(process)
            if done(run, results):
                score = json.loads((results / f"{run.folder}{run.name}.json").read_text())["accuracy"]
                print(time.strftime("%H:%M:%S"), "finished", run.name, score, flush=True)
            elif process.returncode == EXIT_RUN_IS_TAKEN:
                print(time.strftime("%H:%M:%S"), "skipped", run.name, "(another process is doing it)", flush=True)
            elif not stopping:
                failed.append(run.name)
                print(time.strftime("%H:%M:%S"), "FAILED", run.name, f"(exit {process.returncode}), see {logs}/{run.name}.log", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
