"""Trains the shipped packs of a family: every run of the plan that is still missing, one after the other, by train.py.

    python training/family_sweep.py --family models/efficientnet-lite0 --data DIR [--plan] [--only dtd10 sketch] [--design full]

May be stopped with Ctrl-C at any moment and started again; a finished run is a results file. Packs are left in --work;
`--ship` copies the best of each domain to adapters/<family>/ where it is ahead of resnet26-half's. What it does not know: how to train.
"""
from __future__ import annotations

import argparse
import json
import shlex
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
    """How a domain is trained. `epochs` and `schedule` are of the design full, `rate` of full and bn; `options` of every design."""

    epochs: int
    schedule: str = "64:0.4,96:0.25,128:0.35"
    options: tuple[str, ...] = ()
    rate: str = "2e-3"


# Of the runs to come, in the order of what they bring for their time. A results file holds how its own run was made; delete it to
# run again with these. Images of 64 pixels cost a third of those of 128, but features move where a run changes its resolution: the
# loss of flowers90 doubled there (1.1 to 2.3), with a fifth of the steps left. So a third is left here, with 96 in between. Signs have a
# larger rate; at that rate sketch did not learn (20.7%, chance is 14).
PLANS = {
    "dtd10": Plan(12, "64:0.6,128:0.4"),
    "cifar100": Plan(4, options=("--with-val", "--limit", "300")),
    "flowers90": Plan(12),
    "sketch": Plan(16),
    "gtsrb": Plan(6, options=("--limit", "150"), rate="4e-3"),
    "blood_cells": Plan(6, rate="1e-3"),
    "eurosat": Plan(4),
    "aircraft": Plan(30, options=("--with-val",)),
    "fashion_mnist": Plan(4),
    "omniglot": Plan(8),
    "ucmerced": Plan(12),
    "trashnet": Plan(12),
    "sign_digits": Plan(12, rate="4e-3"),
}

# Scale and bias alone are few numbers, for which half of the epochs will do, and most of them on small images.
BN_SCHEDULE = "64:0.7,128:0.3"


def options_of(domain: str, design: str, labels: Path) -> list[str]:
    """The arguments of train.py other than images, family and place of the pack."""
    row, plan = domains.DOMAINS[domain], PLANS[domain]
    epochs, schedule = (max(1, plan.epochs // 2), BN_SCHEDULE) if design == "bn" else (plan.epochs, plan.schedule)
    trained = [] if design == "feature" else ["--epochs", str(epochs), "--schedule", schedule, "--lr", plan.rate, "--precision", "bf16"]
    return ["--design", design, *trained, *plan.options, "--flips", row.flips, "--name", row.title, "--description", row.description,
            "--license", f"{row.license} (of the data, as far as known)", "--labels", str(labels)]


def label_file(domain: str, data: Path, into: Path) -> Path:
    """Writes the labels of a domain's class folders, as train.py takes them."""
    import data as images  # loads torch

    folders, labels = images.classes(data, domains.DOMAINS[domain])
    path = into / f"{domain}.labels.json"
    path.write_text(json.dumps(dict(zip(folders, labels)), ensure_ascii=False))
    return path


def portable(domain: str, design: str, family: str) -> str:
    """The command of a run, for another machine."""
    words = [f"DIR/{domains.DOMAINS[domain].archive}.zip", "--family", f"models/{family}", "--out", f"{domain}.safetensors"]
    return "python training/train.py " + shlex.join([*words, *options_of(domain, design, Path("LABELS"))])


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
        own = result["command"]
        result.update(domain=domain, command=portable(domain, design, name))
        card = pack.with_suffix(".md")
        card.write_text(card.read_text().replace(own, result["command"]))
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{domain}.{design}.json").write_text(json.dumps(result, indent=1) + "\n")
        print(f"[{count}/{len(missing)}] {domain} {design}: {result['accuracy']['test']}% in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
