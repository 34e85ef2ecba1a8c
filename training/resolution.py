"""Chooses what a new family should make of images: resolutions and resampling kernels compared by frozen features.

    python training/resolution.py DIR... --checkpoint efficientnet-lite0-57934424.pth --sides 128 160 224 --kernels linear cubic

For each data set, a fifth of its training images is held out, and a ridge classifier on the frozen features of the rest is
measured on it: closed form, no test image is read.
"""
from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import data
import efficientnet
import folder

MEAN, STD = [127 / 255] * 3, [128 / 255] * 3
STRENGTHS = (10.0, 100.0, 1000.0)


def ridge(x: np.ndarray, y: np.ndarray, x_held: np.ndarray, y_held: np.ndarray, classes: int) -> float:
    """The best accuracy in percent over STRENGTHS, of a ridge regression onto class indicators on standardised features."""
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    a, b = (np.c_[(v - mean) / deviation, np.ones(len(v))] for v in (x, x_held))
    gram, wanted = a.T @ a, a.T @ np.eye(classes)[y]
    solved = (np.linalg.solve(gram + strength * np.eye(len(gram)), wanted) for strength in STRENGTHS)
    return max(100 * float(((b @ w).argmax(1) == y_held).mean()) for w in solved)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("images", nargs="+", help="folders or zip files, as train.py takes them")
    p.add_argument("--checkpoint", required=True, type=Path, help="the state dict of EfficientNet-Lite0")
    p.add_argument("--sides", type=int, nargs="+", default=[128, 160, 224])
    p.add_argument("--kernels", nargs="+", default=["linear", "cubic"], choices=list(data.KERNELS))
    p.add_argument("--limit", type=int, default=40, help="training images a class; default %(default)s")
    args = p.parse_args()
    network = efficientnet.load(args.checkpoint)
    for path in args.images:
        for kernel in args.kernels:
            for side in args.sides:
                started = time.process_time()
                frame = data.Frame(side * 9 // 8, side, side, kernel)
                images = folder.read(path, frame, limit=args.limit, only_train=True)
                rest, held = data.hold_out(images.train, 0.2, seed=0)
                with torch.no_grad():
                    x, x_held = (np.concatenate([network.features(b).double().numpy() for b in tqdm(
                        data.test_batches(split, MEAN, STD, 32, frame=frame), total=-(-len(split) // 32), leave=False, mininterval=2)])
                        for split in (rest, held))
                score = ridge(x, rest.targets, x_held, held.targets, len(images.folders))
                print(f"{Path(path).stem} {kernel} {side}: {score:.2f}% of {len(held)} held-out images, {time.process_time() - started:.0f} s CPU", flush=True)


if __name__ == "__main__":
    main()
