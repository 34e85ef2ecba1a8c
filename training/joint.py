"""Trains the packs of several domains through bases that they share: bases and matrices learn together.

    python training/joint.py --family models/NAME --compressed models/NAME-shared --packs adapters/NAME --data DIR --out DIR2

`facet compress` chooses bases for matrices as they are. Here they go on from there, with the domains' own packs as teachers
(teaching.py). What is written are packs of NAME with whole matrices, all of each slot's in the directions of its basis, so that

    npm run facet -- compress DIR2/*.safetensors --family models/NAME --energy 0.99999 --out models/NAME-joint

finds the bases in them again. Ctrl-C stops; the same command resumes. What it does not know: how bases are chosen first.
"""
from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn

import adapters
import data
import loop
import pack
import teaching

# Images on which the standardisation of a head is based.
STANDARD_IMAGES = 1000


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--family", required=True, help="folder of the family whose packs are compressed")
    p.add_argument("--compressed", required=True, help="folder of the family that `facet compress` made of it: the bases to start from")
    p.add_argument("--packs", required=True, type=Path, help="folder of the family's own packs, the teachers")
    p.add_argument("--start", type=Path, help="folder of the compressed packs; default: in adapters/ beside the folder that holds the compressed family, as `facet compress` writes them")
    p.add_argument("--data", required=True, type=Path, help="directory of <domain> folders or zip files of train|val|test/<class>/<image>, or of <archive>s as in domains.py")
    p.add_argument("--out", required=True, type=Path, help="directory for the packs and the figures, joint.json")
    p.add_argument("--only", nargs="+", help="these domains only; default: all that have a compressed pack")
    p.add_argument("--lr", type=float, default=1e-3, help="of bases and adapters; default %(default)s")
    p.add_argument("--frozen", action="store_true", help="leave the bases as they are")
    return teaching.parsed(p, argv, steps=600)


class Shared(nn.Module):
    """The bases [rank, columns] of all slots and every domain's numbers in front of them, as parameters that change what they start from."""

    def __init__(self, family: adapters.Family, starts: list[dict[str, torch.Tensor]], frozen: bool):
        super().__init__()
        self.slots = [slot["name"] for slot in family.slots if slot.get("basis")]
        self.bases = nn.ParameterList(nn.Parameter(torch.zeros_like(family.bases[f"{slot}.basis"].float()), requires_grad=not frozen) for slot in self.slots)
        for n, slot in enumerate(self.slots):
            self.register_buffer(f"start_{n}", family.bases[f"{slot}.basis"].float(), persistent=False)
        self.domains = nn.ModuleList()
        for start in starts:
            head = adapters.Head(family.features, len(start["head.bias"]))
            own = nn.ModuleDict({"adapter": adapters.Adapter(family, "full", start), "head": head})
            self.domains.append(own)

    def tensors(self, domain: int) -> dict[str, torch.Tensor]:
        """The domain's slots as a pack with whole matrices has them; gradients flow to bases and parameters."""
        found = self.domains[domain]["adapter"].tensors()
        for n, slot in enumerate(self.slots):
            if f"{slot}.up" in found:
                found[f"{slot}.matrix"] = found.pop(f"{slot}.up") @ (getattr(self, f"start_{n}") + self.bases[n])
        return found


class Joint(teaching.Lessons):
    """Domains that learn through a Shared network, on the family's own graph."""

    def __init__(self, network: Shared, there: list[teaching.Domain], trunk: adapters.Trunk, how: tuple[float, float]):
        super().__init__(network, there, trunk.device, how)
        self.trunk = trunk

    def answers(self, domain: int, x: torch.Tensor) -> torch.Tensor:
        return self.network.domains[domain]["head"](self.trunk.features(x, self.network.tensors(domain)).float())


@torch.no_grad()
def begin_head(task: Joint, domain: int, start: dict[str, torch.Tensor]) -> None:
    """Standardises features as they are at the start, and takes the head of the pack `start`."""
    learner, head = task.there[domain].learner, task.network.domains[domain]["head"]
    some = learner.train.subset(np.random.default_rng(0).permutation(len(learner.train))[:STANDARD_IMAGES])
    tensors = task.network.tensors(domain)
    batches = data.test_batches(some, learner.mean, learner.std, frame=learner.frame)
    head.standardise(torch.cat([task.trunk.features(x.to(task.device), tensors) for x in batches]))
    head.start(start["head.weight"], start["head.bias"])


@torch.no_grad()
def whole(network: Shared, domain: int) -> dict[str, torch.Tensor]:
    """A domain's tensors with its head, float32 on the CPU."""
    found = {**network.tensors(domain), **network.domains[domain]["head"].tensors()}
    return {k: v.detach().float().cpu().contiguous() for k, v in found.items()}


def start_of(path: Path, family: adapters.Family, domain: teaching.Domain) -> dict[str, torch.Tensor]:
    """The tensors of a domain's compressed pack. Raises SystemExit unless it is of the same classes and images as the domain's own."""
    tensors, metadata = adapters.pack_of(path, "--start", family)
    differ = [key for key in ("labels", "mean", "std") if metadata[key] != domain.metadata[key]]
    if differ:
        raise SystemExit(f"--start {path} has other {' and '.join(differ)} than the pack {domain.name} (--packs). It must be made of that pack")
    return tensors


def keep(path: Path, tensors: dict[str, torch.Tensor], domain: teaching.Domain, design: str, score: float) -> None:
    """Writes a pack, in float32: rounded matrices would leave the directions of their bases."""
    metadata = domain.metadata
    said = {key: metadata[key] for key in ("name", "description", "license", "activation") if key in metadata}
    metrics = json.dumps({"accuracy": score, "test_images": len(domain.test)})
    pack.write(path, tensors, family=metadata["family"], design=design, labels=metadata["labels"], mean=metadata["mean"],
               std=metadata["std"], dtype=torch.float32, created=datetime.date.today().isoformat(), metrics=metrics, **said)


def subject_of(args: argparse.Namespace, compressed: adapters.Family, there: list[teaching.Domain]) -> str:
    """What a run is of, in one word: a checkpoint of another is not resumed."""
    packs = [hashlib.sha256((place / f"{d.name}.safetensors").read_bytes()).hexdigest() for d in there for place in (args.packs, args.start)]
    images = [name for d in there for name in d.learner.train.names]
    parts = [compressed.fingerprint, *(d.name for d in there), *packs, *images, str((args.distil, args.temperature, args.frozen))]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def families_of(args: argparse.Namespace) -> tuple[adapters.Family, adapters.Family]:
    """The family and the compressed one. Raises SystemExit unless one was made of the other."""
    family, compressed = adapters.Family(args.family), adapters.Family(args.compressed)
    if compressed.manifest.get("compressed", {}).get("fingerprint") != family.fingerprint:
        raise SystemExit(f"--compressed {args.compressed} was not made of {family.name} by `facet compress`. Name a family that was")
    ranked = [slot["name"] for slot in compressed.slots if slot.get("basis") and slot.get("rank")]
    if ranked:
        raise SystemExit(f"the family {family.name} has factors of its own at {len(ranked)} slots, such as {ranked[0]}, and packs are written with whole matrices here. "
                         "Train each domain by itself: training/compress_sweep.py")
    return family, compressed


def main(argv: list[str] | None = None) -> dict:
    args = arguments(argv)
    family, compressed = families_of(args)
    args.start = args.start or Path(args.compressed).absolute().parent.parent / "adapters" / Path(args.compressed).absolute().name
    names = args.only or sorted(path.stem for path in args.start.glob("*.safetensors"))
    if not names:
        raise SystemExit(f"{args.start} has no packs. Name the folder that `facet compress` wrote them to (--start)")
    loop.keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    trunk = adapters.GraphTrunk(family, args.device)
    there = [teaching.load(args.packs / f"{name}.safetensors", args.data, trunk) for name in names]
    starts = [start_of(args.start / f"{domain.name}.safetensors", compressed, domain) for domain in there]
    network = Shared(compressed, starts, args.frozen).to(args.device)
    task = Joint(network, there, trunk, (args.distil, args.temperature))
    for n, start in enumerate(starts):
        begin_head(task, n, start)
    served = lambda n: adapters.Served(trunk, whole(network, n))
    scores = {d.name: {"pack": teaching.accuracy_of_teacher(d), "start": teaching.accuracy(served(n), d)} for n, d in enumerate(there)}
    teaching.show(scores)
    recipe = loop.Recipe(epochs=1, lr=args.lr, head_lr=args.head_lr, batch=args.batch, weight_decay=1e-3, schedule=((family.frame.crop, 1.0),),
                         seed=args.seed, precision=args.precision, steps=args.steps, optimizer="adamw", subject=subject_of(args, compressed, there))
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / f"{compressed.name}.state.pt"
    try:
        seconds = loop.fit(task, recipe, checkpoint)
    except (loop.Stopped, loop.OtherRun) as stopped:
        sys.exit(str(stopped))
    for n, domain in enumerate(there):
        scores[domain.name]["trained"] = score = teaching.accuracy(served(n), domain)
        keep(args.out / f"{domain.name}.safetensors", whole(network, n), domain, family.manifest["design"], score)
    teaching.show(scores)
    result = {"family": family.name, "compressed": compressed.name, "fingerprint": compressed.fingerprint, "accuracy": scores, "mean": teaching.means(scores),
              "ranks": {s["name"]: s["basis"] for s in compressed.slots if s.get("basis")},
              "images": {d.name: {"train": len(d.learner.train), "test": len(d.test)} for d in there},
              "distil": args.distil, "temperature": args.temperature, "frozen": args.frozen, "recipe": recipe.figures(),
              "parameters": compressed.manifest["parameters"], "seconds": round(seconds, 1), "date": datetime.date.today().isoformat(),
              "torch": str(torch.__version__), "device": args.device,
              "command": teaching.command("joint.py", argv if argv is not None else sys.argv[1:], {"--data": "DIR", "--out": "DIR2"})}
    (args.out / "joint.json").write_text(json.dumps(result, indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
    return result


if __name__ == "__main__":
    main()
