"""Trains the packs of a compressed family a little further: `up`, scale, bias and head through the shared bases, by train.py.

    python training/compress_sweep.py --family models/NAME --packs adapters/NAME --data DIR [--only dtd10 sketch]

Starts from what `facet compress` wrote. May be stopped with Ctrl-C at any moment and started again; a finished run is a results
file in training/results/compressed/NAME/, and its pack is in --work. What it does not know: how to train.
"""
from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import domains
from family_sweep import archive, label_file

HERE = Path(__file__).parent
# Training images that a run sees, those seen twice counted twice: as short as a run can be that still mends what a basis loses.
SEEN, MOST_EPOCHS = 16_000, 8
# Rates of a run that only mends: a quarter of train.py's own.
RATES = ["--lr", "5e-4", "--head-lr", "2e-3"]


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


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--family", required=True, type=Path)
    p.add_argument("--packs", required=True, type=Path, help="folder of the packs that facet compress wrote")
    p.add_argument("--data", required=True, type=Path, help="directory of <archive>.zip or unpacked folders, and classes.json")
    p.add_argument("--work", type=Path, default=Path("training/runs"), help="directory for packs and unfinished runs; default %(default)s")
    p.add_argument("--only", nargs="+", help="these domains only, in this order")
    p.add_argument("--threads", type=int, default=0)
    args = p.parse_args()
    name = json.loads((args.family / "family.json").read_text())["name"]
    results, work = HERE / "results" / "compressed" / name, args.work / name
    there = args.only or sorted(path.stem for path in args.packs.glob("*.safetensors"))
    unknown = [domain for domain in there if not (args.packs / f"{domain}.safetensors").is_file()]
    if unknown:
        raise SystemExit(f"{args.packs} has no pack {unknown[0]}.safetensors. Name the folder of the packs (--packs), or other domains (--only)")
    missing = [domain for domain in there if not (results / f"{domain}.json").is_file()]
    print(f"{len(missing)} of {len(there)} runs are missing", flush=True)
    work.mkdir(parents=True, exist_ok=True)
    for count, domain in enumerate(missing, 1):
        start, out = args.packs / f"{domain}.safetensors", work / f"{domain}.safetensors"
        with open(start, "rb") as file:
            metadata = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
        with tempfile.TemporaryDirectory() as scratch:
            options = options_of(domain, metadata, trained_images(domain), label_file(domain, args.data, Path(scratch)))
            started = time.monotonic()
            status = subprocess.run([sys.executable, str(HERE / "train.py"), str(archive(domain, args.data)), "--family", str(args.family),
                                     "--start", str(start), "--out", str(out), *options, "--threads", str(args.threads)]).returncode
        if status:
            sys.exit(f"{domain} ended with status {status}; the same command goes on")
        result = json.loads(out.with_suffix(".json").read_text())
        own = result["command"]
        words = [f"DIR/{domains.DOMAINS[domain].archive}.zip", "--family", f"models/{name}", "--start", f"adapters/{name}/{domain}.safetensors",
                 "--out", f"{domain}.safetensors", *options[:-1], "LABELS"]
        result.update(domain=domain, command="python training/train.py " + shlex.join(words))
        card = out.with_suffix(".md")
        card.write_text(card.read_text().replace(own, result["command"]))
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{domain}.json").write_text(json.dumps(result, indent=1) + "\n")
        accuracy = result["accuracy"]
        print(f"[{count}/{len(missing)}] {domain}: {accuracy['start']}% -> {accuracy['test']}% in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
