"""Trains the shipped packs of a family: every run of the plan that is still missing, one after the other, by train.py.

    python training/family_sweep.py --family models/efficientnet-lite0 --data DIR [--plan] [--only dtd10 sketch] [--design full]

May be stopped with Ctrl-C at any moment and started again; a finished run is a results file. Packs are left in --work;
`--ship` copies the best of each domain to adapters/<family>/ where it is ahead of resnet26-half's. What it does not know: how to train.
"""
from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import domains

HERE = Path(__file__).parent
DESIGNS = ("feature", "bn", "full")


@dataclass(frozen=True)
class Plan:
    """How a domain is trained. `epochs`, `schedule` and `rate` are of the designs full and bn; `options` of every design."""

    epochs: int
    schedule: str = "64:0.6,128:0.4"
    options: tuple[str, ...] = ()
    rate: str = "2e-3"


# In the order of what a run brings for its time, with as many epochs as two shared CPU cores could do in an hour; more would help
# all but the smallest. Domains far from photographs have a larger rate, since few steps must move more. Images of 28 and 32 pixels spend more of the run at 64.
PLANS = {
    "dtd10": Plan(12),
    "flowers90": Plan(5, "64:0.8,128:0.2"),
    "cifar100": Plan(1, "64:0.75,128:0.25", ("--with-val", "--limit", "100")),
    "sketch": Plan(4, "64:0.7,128:0.3"),
    "blood_cells": Plan(3, "64:0.8,128:0.2", rate="4e-3"),
    "gtsrb": Plan(3, "64:0.8,128:0.2", ("--limit", "150"), rate="4e-3"),
    "eurosat": Plan(1, "64:0.7,128:0.3"),
    "aircraft": Plan(6, "64:0.6,128:0.4", ("--with-val",)),
    "fashion_mnist": Plan(1, "64:0.8,128:0.2", rate="4e-3"),
    "omniglot": Plan(3, "64:0.8,128:0.2", rate="4e-3"),
    "ucmerced": Plan(8),
    "trashnet": Plan(8),
    "sign_digits": Plan(8),
}


def options_of(domain: str, design: str, labels: Path) -> list[str]:
    """The arguments of train.py other than images, family and place of the pack."""
    row, plan = domains.DOMAINS[domain], PLANS[domain]
    trained = [] if design == "feature" else ["--epochs", str(plan.epochs), "--schedule", plan.schedule, "--lr", plan.rate]
    return ["--design", design, *trained, *plan.options, "--flips", row.flips, "--name", row.title, "--description", row.description,
            "--license", f"data: {row.license}", "--labels", str(labels)]


def label_file(domain: str, data: Path, into: Path) -> Path:
    """Writes the labels of a domain's class folders, as train.py takes them."""
    import data as images  # loads torch

    folders, labels = images.classes(data, domains.DOMAINS[domain])
    path = into / f"{domain}.labels.json"
    path.write_text(json.dumps(dict(zip(folders, labels)), ensure_ascii=False))
    return path


def archive(domain: str, data: Path) -> Path:
    folder = data / domains.DOMAINS[domain].archive
    return folder if folder.is_dir() else folder.with_suffix(".zip")


def before(domain: str) -> float:
    """The best accuracy of a pack of resnet26-half for this domain, in percent; 0 where there is none."""
    runs = (json.loads(p.read_text()) for p in (HERE / "results").glob(f"{domain}.*.json"))
    return max((r["accuracy"]["test"] for r in runs if r["design"] in ("feature", "bn", "series", "parallel")), default=0.0)


def ship(results: Path, work: Path, out: Path) -> None:
    """Copies the best pack of each domain, and its card, to `out`, where it is ahead of resnet26-half's."""
    for domain in PLANS:
        done = [json.loads(p.read_text()) for p in results.glob(f"{domain}.*.json")]
        there = [r for r in done if (work / f"{domain}.{r['design']}.safetensors").is_file()]
        if not there:
            continue
        best = max(there, key=lambda r: r["accuracy"]["test"])
        said = f"{domain}: {best['design']}, {best['accuracy']['test']:.2f}% (resnet26-half {before(domain):.2f}%)"
        if best["accuracy"]["test"] <= before(domain):
            print(f"{said}: not shipped")
            continue
        out.mkdir(parents=True, exist_ok=True)
        for suffix in (".safetensors", ".md"):
            shutil.copyfile(work / f"{domain}.{best['design']}{suffix}", out / f"{domain}{suffix}")
        print(f"{said}: {out / domain}.safetensors")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--family", required=True, type=Path)
    p.add_argument("--data", required=True, type=Path, help="directory of <archive>.zip or unpacked folders, and classes.json")
    p.add_argument("--work", type=Path, default=Path("training/runs"), help="directory for packs and unfinished runs; default %(default)s")
    p.add_argument("--only", nargs="+", choices=list(PLANS), help="these domains only, in this order")
    p.add_argument("--design", nargs="+", choices=DESIGNS, default=["full", "feature", "bn"], help="these designs only, in this order")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--plan", action="store_true", help="list the runs and end")
    p.add_argument("--ship", action="store_true", help="copy the best packs to adapters/<family>/, where they are ahead of resnet26-half's, and end")
    args = p.parse_args()
    name = json.loads((args.family / "family.json").read_text())["name"]
    results, work = HERE / "results" / "families" / name, args.work / name
    if args.ship:
        ship(results, work, Path("adapters") / name)
        return
    runs = [(domain, design) for design in args.design for domain in args.only or PLANS]
    missing = [run for run in runs if not (results / f"{'.'.join(run)}.json").is_file()]
    print(f"{len(missing)} of {len(runs)} runs are missing", flush=True)
    if args.plan:
        for domain, design in missing:
            print(domain, design, *options_of(domain, design, Path("LABELS")))
        return
    work.mkdir(parents=True, exist_ok=True)
    for count, (domain, design) in enumerate(missing, 1):
        pack = work / f"{domain}.{design}.safetensors"
        with tempfile.TemporaryDirectory() as scratch:
            options = options_of(domain, design, label_file(domain, args.data, Path(scratch)))
            started = time.monotonic()
            command = [sys.executable, str(HERE / "train.py"), str(archive(domain, args.data)), "--family", str(args.family), "--out", str(pack),
                       *options, "--threads", str(args.threads)]
            status = subprocess.run(command).returncode
        if status:
            sys.exit(f"{domain} {design} ended with status {status}; the same command goes on")
        result = json.loads(pack.with_suffix(".json").read_text())
        result.update(domain=domain, command=f"python training/family_sweep.py --family {args.family.as_posix()} --data DIR --only {domain} --design {design}")
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{domain}.{design}.json").write_text(json.dumps(result, indent=1) + "\n")
        print(f"[{count}/{len(missing)}] {domain} {design}: {result['accuracy']['test']}% in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
