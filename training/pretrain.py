"""Trains a trunk from random weights and writes it as `.safetensors` (for adapt.py) and `.onnx` (for the family builder).

    python training/pretrain.py --data DIR --out training/runs/resnet26 --width 1.0 --epochs 30
"""
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import convert
import data
import domains
import loop
import network as net

SOURCE = domains.Domain("tiny_imagenet", "tiny_imagenet_a", "Natural images", "tiny-imagenet", "ImageNet terms, research", "horizontal")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help=f"directory with {SOURCE.archive}.zip, or that folder unpacked")
    p.add_argument("--out", required=True, help="path without suffix for .safetensors, .onnx and .json")
    p.add_argument("--width", type=float, default=1.0, help="1.0: the paper's network")
    p.add_argument("--schedule", type=loop.parse_schedule, default="32:0.3,48:0.35,64:0.35",
                   help="resolutions, each with its share of the steps; the last one is the trunk's; default %(default)s")
    p.add_argument("--epochs", type=int, default=30)
    p.add_argument("--lr", type=float, default=0.1)
    p.add_argument("--weight-decay", type=float, default=5e-4)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--limit", type=int, default=0, help="train on the first N images a class")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = p.parse_args(argv)
    torch.manual_seed(args.seed)
    out = Path(args.out)
    folders, labels = data.classes(args.data, SOURCE)
    train = data.load(args.data, SOURCE, "train", folders, args.limit)
    val = data.load(args.data, SOURCE, "val", folders)
    network = net.ResNet26(len(folders), args.width, "scratch")
    recipe = loop.Recipe(epochs=args.epochs, lr=args.lr, head_lr=args.lr, batch=args.batch, weight_decay=args.weight_decay,
                         schedule=args.schedule, seed=args.seed, precision=args.precision, compile=args.compile)
    try:
        seconds = loop.fit(loop.Classification(network, train, MEAN, STD, SOURCE.flips, args.device), recipe, out.with_suffix(".pt"))
    except (loop.Stopped, loop.OtherRun) as stopped:
        sys.exit(str(stopped))
    score = loop.accuracy(loop.predict(network, val, MEAN, STD, args.device, args.schedule[-1][0]), val)
    network.cpu()
    save_file(convert.trunk_tensors(network), str(out.with_suffix(".safetensors")))
    convert.export_onnx(network, out.with_suffix(".onnx"), args.schedule[-1][0])
    out.with_suffix(".json").write_text(json.dumps({
        "data": SOURCE.archive, "width": args.width, "accuracy": {"val": score}, "images": {"train": len(train), "val": len(val)},
        "recipe": recipe.figures(), "seconds": round(seconds, 1), "torch": str(torch.__version__), "labels": labels}, indent=1) + "\n")
    print(f"{out}: {score}% on {len(val)} validation images, {seconds:.0f} s")


if __name__ == "__main__":
    main()
