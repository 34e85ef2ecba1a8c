"""Trains packs through the bases of a compressed family, by train.py: `up`, scale, bias and head.

    python training/compress_sweep.py --family models/NAME --packs adapters/NAME --data DIR [--only dtd10 sketch]
    python training/compress_sweep.py --family models/NAME --packs adapters/resnet26-half --data DIR [--project-only]

Packs that `facet compress` wrote are trained a little further. Packs of the family that was compressed, of domains that took no
part in choosing the bases, are projected on them first (`facet pack project`), and accuracy is measured before and after.

May be stopped with Ctrl-C at any moment and started again; a finished run is a results file in training/results/compressed/NAME/,
of a projected pack in its folder unseen/, and the pack is in --work. What it does not know: how to train, and how to project.
"""
from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

import adapters
import data
import domains
import loop
import pack
from family_sweep import archive, label_file

HERE = Path(__file__).parent
ROOT = HERE.resolve().parent
# Training images that a run sees, those seen twice counted twice: as short as a run can be that still mends what a basis loses.
SEEN, MOST_EPOCHS = 16_000, 8
# Rates of a run that only mends: a quarter of train.py's own.
RATES = ["--lr", "5e-4", "--head-lr", "2e-3"]


@dataclass
class Run:
    """One pack. `start`: what training starts from; `result`: the results file."""

    domain: str
    pack: Path
    unseen: bool
    start: Path
    result: Path

    def figures(self, fingerprint: str) -> dict:
        """What is known of the run. Raises SystemExit for the figures of another family of this name."""
        found = json.loads(self.result.read_text()) if self.result.is_file() else {}
        if found and found["fingerprint"] != fingerprint:
            raise SystemExit(f"{self.result} is of another family of this name (fingerprint {found['fingerprint'][:12]}, not {fingerprint[:12]}). Remove it to run again")
        return found

    def write(self, figures: dict) -> None:
        self.result.parent.mkdir(parents=True, exist_ok=True)
        self.result.write_text(json.dumps(figures, indent=1) + "\n")


def metadata_of(path: Path) -> dict:
    with open(path, "rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]


def runs_of(args: argparse.Namespace, family: adapters.Family) -> list[Run]:
    """The packs that are trained. Raises SystemExit for those that cannot be."""
    made_of = family.manifest.get("compressed")
    if not made_of:
        raise SystemExit(f"the family {family.name} is not compressed. facet compress makes one that is (docs/compression.md)")
    runs = []
    for domain in args.only or sorted(path.stem for path in args.packs.glob("*.safetensors")):
        file = args.packs / f"{domain}.safetensors"
        if not file.is_file():
            raise SystemExit(f"{args.packs} has no pack {file.name}. Name the folder of the packs (--packs), or other domains (--only)")
        of, results, work = metadata_of(file)["family"], HERE / "results" / "compressed" / family.name, args.work / family.name
        if of == family.fingerprint:
            runs.append(Run(domain, file, False, file, results / f"{domain}.json"))
        elif of != made_of["fingerprint"]:
            raise SystemExit(f"{file} is a pack neither of {family.name} nor of {made_of['family']}, of which that was made")
        elif domain not in made_of["packs"]:
            runs.append(Run(domain, file, True, work / "projected" / file.name, results / "unseen" / f"{domain}.json"))
        elif args.only:
            raise SystemExit(f"{domain} took part in choosing the bases of {family.name}: of a domain that did not it would say nothing. Leave it out (--only)")
    return runs


def project(run: Run, family: adapters.Family, args: argparse.Namespace) -> None:
    """Makes the pack that training starts from, and writes down what is lost: accuracy on all test images, and output at each slot."""
    run.start.parent.mkdir(parents=True, exist_ok=True)
    words = ["npm", "run", "--silent", "facet", "--", "pack", "project", str(run.pack.resolve()), "--family", str(args.family.resolve()),
             "--out", str(run.start.resolve())]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{run.domain} was not projected: facet pack project ended with status {done.returncode}")
    source = adapters.Family(args.source or ROOT / "models" / family.manifest["compressed"]["family"])
    if source.fingerprint != family.manifest["compressed"]["fingerprint"]:
        raise SystemExit(f"{source.directory} is not the family that {family.name} was made of. Name its folder (--source)")
    row = domains.DOMAINS[run.domain]
    folders, labels = data.classes(args.data, row)
    metadata = metadata_of(run.pack)
    if labels != json.loads(metadata["labels"]):
        raise SystemExit(f"{run.pack}: its labels are not those of the data in {args.data}")
    test = data.load(args.data, row, "test", folders, frame=family.frame)
    mean, std = (json.loads(metadata[key]) for key in ("mean", "std"))
    accuracy = {}
    for what, of, file in (("full", source, run.pack), ("start", family, run.start)):
        served = adapters.Served(adapters.GraphTrunk(of, "cpu"), pack.read(file)[0])
        accuracy[what] = loop.accuracy(loop.predict(served, test, mean, std, "cpu", frame=family.frame), test)
    lost = {slot: float(share) for slot, share in re.findall(r"^(\S+) +([\d.]+)%$", done.stdout, re.MULTILINE)}
    command = f"npm run facet -- pack project adapters/{source.name}/{run.pack.name} --family models/{family.name} --out {run.pack.name}"
    run.write({"domain": run.domain, "family": family.name, "fingerprint": family.fingerprint, "accuracy": accuracy, "classes": len(labels),
               "images": {"test": len(test)}, "lost": lost, "projected": command})
    print(f"{run.domain}: {accuracy['full']}% before it was projected, {accuracy['start']}% after; at the worst slot {max(lost.values(), default=0)}% "
          "of the output are lost", flush=True)


def options_of(domain: str, metadata: dict, images: int, labels: Path) -> list[str]:
    """The arguments of train.py other than images, family, start and place of the pack. `images`: of the domain's training."""
    row = domains.DOMAINS[domain]
    classes = len(json.loads(metadata["labels"]))
    epochs = max(1, min(MOST_EPOCHS, round(SEEN / images)))
    limit = ["--limit", str(-(-SEEN // classes))] if images > SEEN else []
    named = [word for key, option in (("name", "--name"), ("description", "--description"), ("license", "--license"))
             if metadata.get(key) for word in (option, metadata[key])]
    return [*RATES, "--epochs", str(epochs), *limit, "--with-val", "--flips", row.flips, "--precision", "bf16", *named, "--labels", str(labels)]


def trained_images(domain: str) -> int:
    """Images that the domain's pack was trained on first."""
    runs = [json.loads(path.read_text()) for path in (HERE / "results").glob(f"{domain}.*.json")]
    if not runs:
        raise SystemExit(f"there is no results file of {domain} in {HERE / 'results'}: its pack was not trained by adapt.py. Leave it out (--only)")
    return max(run["images"]["train"] for run in runs)


def train(run: Run, family: adapters.Family, args: argparse.Namespace) -> dict:
    """Trains one pack, and writes its figures. Returns its accuracy."""
    out = args.work / family.name / run.pack.name
    with tempfile.TemporaryDirectory() as scratch:
        options = options_of(run.domain, metadata_of(run.pack), trained_images(run.domain), label_file(run.domain, args.data, Path(scratch)))
        status = subprocess.run([sys.executable, str(HERE / "train.py"), str(archive(run.domain, args.data)), "--family", str(args.family),
                                 "--start", str(run.start), "--out", str(out), *options, "--threads", str(args.threads)]).returncode
    if status:
        sys.exit(f"{run.domain} ended with status {status}; the same command goes on")
    before, result = run.figures(family.fingerprint), json.loads(out.with_suffix(".json").read_text())
    own = result["command"]
    start = run.pack.name if run.unseen else f"adapters/{family.name}/{run.pack.name}"
    words = [f"DIR/{domains.DOMAINS[run.domain].archive}.zip", "--family", f"models/{family.name}", "--start", start, "--out", run.pack.name, *options[:-1], "LABELS"]
    accuracy = {**before.get("accuracy", {}), **result["accuracy"]}
    result = {**before, **result, "accuracy": accuracy, "domain": run.domain, "command": "python training/train.py " + shlex.join(words)}
    card = out.with_suffix(".md")
    card.write_text(card.read_text().replace(own, result["command"]))
    run.write(result)
    return accuracy


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--family", required=True, type=Path)
    p.add_argument("--packs", required=True, type=Path, help="folder of packs that facet compress wrote, or of the family that was compressed")
    p.add_argument("--source", type=Path, help="folder of the family that was compressed; default: models/ and its name")
    p.add_argument("--data", required=True, type=Path, help="directory of <archive>.zip or unpacked folders, and classes.json")
    p.add_argument("--work", type=Path, default=Path("training/runs"), help="directory for packs and unfinished runs; default %(default)s")
    p.add_argument("--only", nargs="+", choices=list(domains.DOMAINS), metavar="DOMAIN", help="these domains only, in this order")
    p.add_argument("--project-only", action="store_true", help="measure what projecting loses, and train nothing")
    p.add_argument("--threads", type=int, default=0)
    args = p.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    family = adapters.Family(args.family)
    runs = runs_of(args, family)
    missing = [run for run in runs if "test" not in run.figures(family.fingerprint).get("accuracy", {})]
    for run in missing:
        if run.unseen and not (run.figures(family.fingerprint) and run.start.is_file()):
            project(run, family, args)
    if args.project_only:
        return
    print(f"{len(missing)} of {len(runs)} runs are missing", flush=True)
    for count, run in enumerate(missing, 1):
        started = time.monotonic()
        accuracy = train(run, family, args)
        print(f"[{count}/{len(missing)}] {run.domain}: {accuracy['start']}% -> {accuracy['test']}% in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
