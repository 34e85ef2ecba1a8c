"""
Makes what a race needs on disk: packs, the same domains as dedicated networks, images, expected answers.

Runs in the race's own virtual environment, started by the race. What is there already is left, so that a broken
preparation goes on where it was; what was made from another family or by another version of this is made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime

import pictures
from dedicated import Family
from networks import NETWORKS, NEWCOMER, domain_names
from packs import over_base, read_pack, with_noise
from paths import REPOSITORY, compiled, data_of
from quantised import quantise

#: Raise when what is made changes its form.
VERSION = 1
#: Domains whose expected answers are kept; comparing more takes time and shows nothing new.
CHECKED = 10


class Preparation:
    """One network's folder."""

    def __init__(self, network: str):
        self.spec = NETWORKS[network]
        self.network, self.dir = network, data_of(network)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.forget_if_stale()
        if self.spec.random:
            self.draw_family()
        self.family_dir = self.spec.family(self.dir)
        self.sources = sorted(self.spec.sources(self.dir).glob("*.safetensors"))

    def forget_if_stale(self) -> None:
        """Removes everything where it was made from other files than those of today."""
        made, key = self.dir / "made.json", self.key()
        if made.exists() and json.loads(made.read_text()) == key:
            return
        shutil.rmtree(self.dir)
        self.dir.mkdir()
        made.write_text(json.dumps(key))

    def key(self) -> dict[str, object]:
        """What the folder's content depends on."""
        if self.spec.random:
            build = REPOSITORY / "dist"
            files = [compiled("families.js"), build / "bench" / "networks.js", *sorted((build / "src" / "compiler").rglob("*.js"))]
        else:
            files = [self.spec.family(self.dir) / "family.json", *sorted(self.spec.sources(self.dir).glob("*.safetensors"))]
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.read_bytes())
        return {"version": VERSION, "files": digest.hexdigest()}

    def draw_family(self) -> None:
        """A family and packs with random weights, made by the project's own builder."""
        if (self.dir / "drawn").exists():
            return
        subprocess.run(["node", str(compiled("families.js")), self.network, str(self.dir)], check=True)
        (self.dir / "drawn").touch()

    def packs(self, names: list[str]) -> Iterator[str]:
        """`names` as packs: copies of the sources in turn, each with noise of its own."""
        folder = self.folder("packs")
        for index, name in enumerate(names):
            path = folder / f"{name}.safetensors"
            if not path.exists():
                pictures.whole(path, with_noise(self.sources[index % len(self.sources)].read_bytes(), index))
                yield name

    def nets(self, names: list[str]) -> Iterator[str]:
        """The same domains as dedicated networks."""
        folder, family = self.folder("nets"), Family(self.family_dir)
        base = read_pack(self.family_dir / "base.safetensors")
        for name in names:
            path = folder / f"{name}.onnx"
            if not path.exists():
                pack = read_pack(self.dir / "packs" / f"{name}.safetensors")
                pictures.whole(path, family.merge(over_base(base, pack)))
                yield name

    def int8(self, names: list[str]) -> Iterator[str]:
        """The dedicated networks in 8 bits, their ranges taken from the load's images."""
        folder, images = self.folder("int8"), list(self.pixels("images").values())
        for name in names:
            path = folder / f"{name}.onnx"
            if not path.exists():
                pictures.whole(path, quantise(self.dir / "nets" / path.name, images))
                yield name

    def frozen(self) -> None:
        """The trunk's convolutions, for a peer that runs adapters beside them."""
        path = self.dir / "frozen.npz"
        if not path.exists():
            part = self.dir / "part.npz"
            np.savez(part, **Family(self.family_dir).frozen())
            part.rename(path)

    def images(self) -> None:
        if (self.dir / "drawn-images").exists():
            return
        size = Family(self.family_dir).manifest["input"]
        pictures.draw(REPOSITORY / "samples", self.folder("images"), self.folder("exact"), size["resize"])
        (self.dir / "drawn-images").touch()

    def expected(self, names: list[str]) -> None:
        """Best classes and their scores on every image: the dedicated network on training's pixels."""
        path = self.dir / "expected.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        missing = [name for name in names if name not in known]
        if not missing:
            return
        kinds = {kind: self.pixels(kind) for kind in ("exact", "images")}
        for name in missing:
            session = onnxruntime.InferenceSession(str(self.dir / "nets" / f"{name}.onnx"), providers=["CPUExecutionProvider"])
            known[name] = {kind: answers(session, images) for kind, images in kinds.items()}
        pictures.whole(path, json.dumps(known).encode())

    def pixels(self, kind: str) -> dict[str, np.ndarray]:
        """Training's pixels of the images of a folder, by the file's name."""
        size = Family(self.family_dir).manifest["input"]
        return {path.name: pictures.pixels_of(path, size) for path in sorted((self.dir / kind).glob("*.jpg"))}

    def folder(self, name: str) -> Path:
        folder = self.dir / name
        folder.mkdir(exist_ok=True)
        return folder


def answers(session: onnxruntime.InferenceSession, images: dict[str, np.ndarray]) -> dict[str, list]:
    """The five best classes of each image, with their scores."""
    rows = {}
    for name, pixels in images.items():
        scores = session.run(None, {"pixels": pixels[None]})[0][0]
        rows[name] = [[int(k), float(scores[k])] for k in np.argsort(-scores)[:5]]
    return rows


def follow(what: str, total: int, made: Iterator[str]) -> None:
    """Runs a step that yields the name of each thing it made, and says now and then how far it is."""
    count, said = 0, time.monotonic()
    for count, _ in enumerate(made, 1):
        if time.monotonic() - said > 5:
            print(f"  {what}: {count} of at most {total} made", file=sys.stderr, flush=True)
            said = time.monotonic()
    if count:
        print(f"  {what}: {count} made", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", required=True, choices=NETWORKS)
    parser.add_argument("--packs", required=True, type=int, help="domains")
    parser.add_argument("--nets", required=True, type=int, help="domains that dedicated networks are made for")
    parser.add_argument("--int8", required=True, type=int, help="domains that they are quantised for; 0: none")
    given = parser.parse_args()
    preparation = Preparation(given.network)
    checked = min(CHECKED, given.packs)
    nets = max(given.nets, given.int8, checked)
    names = [NEWCOMER, *domain_names(max(given.packs, nets))]
    follow("packs", len(names), preparation.packs(names))
    follow("dedicated networks", 1 + nets, preparation.nets(names[: 1 + nets]))
    preparation.frozen()
    preparation.images()
    if given.int8:
        follow("quantised networks", 1 + given.int8, preparation.int8(names[: 1 + given.int8]))
    preparation.expected(names[: 1 + checked])


if __name__ == "__main__":
    main()
