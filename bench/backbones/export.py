"""Exports the networks of `networks.py` to ONNX.

    python bench/backbones/export.py --out DIR --exporter torchscript --opset 17 [--unfolded] [NAME ...]

TorchScript's exporter folds BatchNorm into the convolution before it, and weights lose their names; `--unfolded` keeps
both. `--exporter dynamo` needs torch 2.5 or later, with onnxscript. Needs torchvision, timm and transformers.
"""
from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

import networks


def export(network: nn.Module, path: Path, exporter: str, opset: int, unfolded: bool) -> None:
    image = torch.randn(2, 3, networks.SIZE, networks.SIZE)
    if exporter == "dynamo":
        # A named Dim is refused by torch.export where it traces a network for batches above 1 only (ViT, Swin, ConvNeXt).
        batch = torch.export.Dim.DYNAMIC
        torch.onnx.export(network, (image,), str(path), dynamo=True, opset_version=opset, dynamic_shapes=({0: batch},),
                          external_data=False, input_names=["image"], verbose=False)
        return
    names = ["features", "hidden"] if isinstance(network, networks.Embedding) else ["logits"]
    options: dict[str, object] = {"dynamo": False} if torch.__version__ >= "2.9" else {}
    if unfolded:
        options |= {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    torch.onnx.export(network, (image,), str(path), opset_version=opset, input_names=["image"], output_names=names,
                      dynamic_axes={name: {0: "batch"} for name in ["image", *names]}, **options)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True, help="folder of the ONNX files")
    p.add_argument("--exporter", choices=("torchscript", "dynamo"), default="torchscript")
    p.add_argument("--opset", type=int, default=17)
    p.add_argument("--unfolded", action="store_true", help="keep BatchNorms and the names of weights")
    p.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(networks.NETWORKS)}")
    args = p.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    args.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in args.names or networks.NETWORKS:
        path = args.out / f"{name}.onnx"
        try:
            export(networks.make(name), path, args.exporter, args.opset, args.unfolded)
        except Exception as error:  # an exporter's own limits are a result, too
            path.with_suffix(".json").write_text(json.dumps({"failed": f"{type(error).__name__}: {error}"[:400]}))
            print(f"{name}: not exported: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
            failed += 1
            continue
        path.with_suffix(".json").write_text(json.dumps({"torch": torch.__version__}))
        print(f"{path}: {path.stat().st_size:,} bytes", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
