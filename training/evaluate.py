"""Measures exported packs on their test images, using only the pack's bytes and the trunk, and writes every prediction.

    python training/evaluate.py --data DIR --trunk FILE --packs adapters/resnet26-half [--domain sketch]
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from tqdm import tqdm

import data
import domains
import pack


def main() -> None:
    here = Path(__file__).parent
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--trunk", required=True)
    p.add_argument("--packs", required=True, help="directory of <domain>.safetensors")
    p.add_argument("--domain", choices=list(domains.DOMAINS), help="only this domain")
    p.add_argument("--out", default=str(here / "results" / "predictions"))
    p.add_argument("--threads", type=int, default=0)
    args = p.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    trunk, out = load_file(args.trunk), Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for name in [args.domain] if args.domain else domains.DOMAINS:
        path = Path(args.packs) / f"{name}.safetensors"
        if not path.is_file():
            continue
        tensors, metadata = pack.read(path)
        folders, labels = data.classes(args.data, domains.domain(name))
        if labels != metadata["labels"]:
            raise SystemExit(f"{path}: its labels are not those of the data in {args.data}; export it again")
        split = data.load(args.data, domains.domain(name), "test", folders)
        run = pack.Runner(trunk, tensors, metadata["design"])
        batches = tqdm(data.test_batches(split, metadata["mean"], metadata["std"]), desc=name, mininterval=2, leave=False,
                       total=-(-len(split) // 128))
        predicted = torch.cat([run.logits(run.features(x)).argmax(1) for x in batches]).tolist()
        correct = sum(int(a == b) for a, b in zip(predicted, split.targets))
        (out / f"{name}.json").write_text(json.dumps(
            {"domain": name, "split": "test", "images": split.names, "truth": split.targets.tolist(),
             "predicted": predicted, "correct": correct},
            separators=(",", ":")) + "\n")
        print(f"{name}: {correct} of {len(split)} correct, {100 * correct / len(split):.2f}%")


if __name__ == "__main__":
    main()
