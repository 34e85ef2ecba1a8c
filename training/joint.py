"""Trains the packs of several domains through bases that they share: bases and matrices learn together.

    python training/joint.py --family models/NAME --compressed models/NAME-shared --packs adapters/NAME --data DIR --out DIR2

`facet compress` chooses bases for matrices as they are. Here they go on from there: a batch's loss is that of its classes, and how
far its answers are from those of the domain's own pack (knowledge distillation, Hinton et al. 2015). What is written are packs of
NAME with whole matrices, all of each slot's in the directions of its basis, so that

    npm run facet -- compress DIR2/*.safetensors --family models/NAME --energy 0.99999 --out models/NAME-joint

finds the bases in them again. Ctrl-C stops; the same command resumes. What it does not know: how bases are chosen first.
"""
from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import adapters
import data
import domains
import folder
import loop
import pack

# Training images of a domain that a run may read: so many that none is seen more than a few times, so few that all domains fit in memory.
MOST_IMAGES = 15_000
# Images on which the standardisation of a head is based.
STANDARD_IMAGES = 1000


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--family", required=True, help="folder of the family whose packs are compressed")
    p.add_argument("--compressed", required=True, help="folder of the family that `facet compress` made of it: the bases to start from")
    p.add_argument("--packs", required=True, type=Path, help="folder of the family's own packs, the teachers")
    p.add_argument("--start", type=Path, help="folder of the compressed packs; default: adapters/<name> beside the compressed family's parent folder")
    p.add_argument("--data", required=True, type=Path, help="directory of <domain> folders or zip files of train|val|test/<class>/<image>, or of <archive>s as in domains.py")
    p.add_argument("--out", required=True, type=Path, help="directory for the packs and the figures, joint.json")
    p.add_argument("--only", nargs="+", help="these domains only; default: all that have a compressed pack")
    p.add_argument("--steps", type=int, default=600, help="each is a batch of every domain; default %(default)s")
    p.add_argument("--batch", type=int, default=32, help="images of each domain; default %(default)s")
    p.add_argument("--lr", type=float, default=1e-3, help="of bases and adapters; default %(default)s")
    p.add_argument("--head-lr", type=float, default=2e-3)
    p.add_argument("--distil", type=float, default=0.5, help="share of the loss that is the distance to the teacher; default %(default)s")
    p.add_argument("--temperature", type=float, default=2.0, help="of the answers that are compared; default %(default)s")
    p.add_argument("--frozen", action="store_true", help="leave the bases as they are")
    p.add_argument("--val-share", type=float, default=0.0, help="hold out this share of train and measure on it, not on test")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="of the training; accuracy is measured in fp32")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's default")
    args = p.parse_args(argv)
    if not 0 <= args.distil <= 1:
        p.error(f"--distil {args.distil}: a share from 0 to 1")
    if not 0 <= args.val_share < 1:
        p.error(f"--val-share {args.val_share}: a share from 0 to below 1")
    return args


@dataclass
class Domain:
    """One domain of a run. `teacher`: the trunk with its own pack; `start`: tensors of its compressed pack; `metadata`: of its own
    pack; `measured`: the images on which accuracy is measured."""

    name: str
    teacher: adapters.Served
    start: dict[str, torch.Tensor]
    metadata: dict
    learner: loop.Classification
    measured: data.Split


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


class Joint:
    """The task of a run: one step takes a batch of every domain."""

    def __init__(self, network: Shared, trunk: adapters.Trunk, there: list[Domain], teaching: tuple[float, float]):
        """`teaching`: share of the loss that is the distance to the teachers, and the temperature of what is compared."""
        self.network, self.trunk, self.there, self.device = network, trunk, there, trunk.device
        self.distil, self.temperature = teaching

    def steps(self, recipe: loop.Recipe) -> int:
        return recipe.steps

    def gradients(self, recipe: loop.Recipe, moment: loop.Moment) -> torch.Tensor:
        total = torch.zeros((), device=self.device)
        for n, domain in enumerate(self.there):
            own = loop.Moment(*divmod(moment.step, domain.learner.steps(recipe)), moment.progress, moment.rng)
            x, y = domain.learner.batch(recipe, own)
            with loop.autocast(recipe, self.device):
                with torch.no_grad():
                    taught = domain.teacher(x).float()
                features = self.trunk.features(x, self.network.tensors(n))
            logits = self.network.domains[n]["head"](features.float())
            loss = (1 - self.distil) * loop.linear_loss(logits, y, recipe.smoothing) + self.distil * distance(logits, taught, self.temperature)
            (loss / len(self.there)).backward()
            total += loss.detach() / len(self.there)
        return total


def distance(logits: torch.Tensor, taught: torch.Tensor, temperature: float) -> torch.Tensor:
    """Kullback-Leibler divergence of softened answers, [N, K] each, times temperature^2 so that gradients keep their size."""
    return F.kl_div(F.log_softmax(logits / temperature, 1), F.log_softmax(taught / temperature, 1), reduction="batchmean", log_target=True) * temperature ** 2


def images_of(name: str, place: Path) -> Path:
    """Where the images of a domain lie: under its own name, or under that of its archive."""
    names = [name, *([domains.DOMAINS[name].archive] if name in domains.DOMAINS else [])]
    for path in (place / f"{n}{suffix}" for n in names for suffix in ("", ".zip")):
        if path.exists():
            return path
    raise SystemExit(f"--data {place}: there is no folder {name} and no {name}.zip. Add it, or leave the domain out (--only)")


def load(name: str, args: argparse.Namespace, trunk: adapters.Trunk, compressed: adapters.Family) -> Domain:
    """Reads one domain's packs and images. Raises SystemExit."""
    family = trunk.family
    place = images_of(name, args.data)
    teacher, metadata = adapters.pack_of(args.packs / f"{name}.safetensors", "--packs", family)
    start, _ = adapters.pack_of(args.start / f"{name}.safetensors", "--start", compressed)
    classes = len(metadata["labels"])
    try:
        images = folder.read(place, family.frame, limit=-(-MOST_IMAGES // classes), with_val=True, only_train=bool(args.val_share))
    except folder.FolderError as error:
        raise SystemExit(f"{name}: {error}") from error
    if len(images.folders) != classes:
        raise SystemExit(f"{place} has {len(images.folders)} class folders, and the pack {name} has {classes} labels. They must be the classes that the pack was trained on")
    training, measured = data.hold_out(images.train, args.val_share, seed=0) if args.val_share else (images.train, images.test)
    flips = domains.DOMAINS[name].flips if name in domains.DOMAINS else "none"
    learner = loop.Classification(None, training, metadata["mean"], metadata["std"], flips, args.device, family.frame)
    return Domain(name, adapters.Served(trunk, teacher), start, metadata, learner, measured)


def accuracy(network: nn.Module, domain: Domain) -> float:
    """Top-1 in percent of the domain's measured images."""
    learner = domain.learner
    return loop.accuracy(loop.predict(network, domain.measured, learner.mean, learner.std, learner.device, frame=learner.frame), domain.measured)


@torch.no_grad()
def begin_head(head: adapters.Head, start: Domain, features: torch.Tensor) -> None:
    """Standardises features as they are at the start, and takes the pack's head. `features` [N, F]."""
    head.standardise(features)
    head.start(start.start["head.weight"], start.start["head.bias"])


@torch.no_grad()
def features_of(network: Shared, domain: int, task: "Joint") -> torch.Tensor:
    """[N, F] of some of the domain's training images, as the network is."""
    own = task.there[domain]
    some = own.learner.train.subset(np.random.default_rng(0).permutation(len(own.learner.train))[:STANDARD_IMAGES])
    tensors = network.tensors(domain)
    return torch.cat([task.trunk.features(x.to(task.device), tensors)
                      for x in data.test_batches(some, own.learner.mean, own.learner.std, frame=own.learner.frame)])


@torch.no_grad()
def whole(network: Shared, domain: int) -> dict[str, torch.Tensor]:
    """A domain's tensors with its head, float32 on the CPU."""
    found = {**network.tensors(domain), **network.domains[domain]["head"].tensors()}
    return {k: v.detach().float().cpu().contiguous() for k, v in found.items()}


def keep(path: Path, tensors: dict[str, torch.Tensor], domain: Domain, score: float) -> None:
    """Writes a pack, in float32: rounded matrices would leave the directions of their bases."""
    metadata = domain.metadata
    said = {key: metadata[key] for key in ("name", "description", "license", "activation") if key in metadata}
    metrics = json.dumps({"accuracy": score, "test_images": len(domain.measured)})
    pack.write(path, tensors, family=metadata["family"], design=metadata["design"], labels=metadata["labels"], mean=metadata["mean"],
               std=metadata["std"], dtype=torch.float32, created=datetime.date.today().isoformat(), metrics=metrics, **said)


def subject_of(args: argparse.Namespace, compressed: adapters.Family, there: list[Domain]) -> str:
    """What a run is of, in one word: a checkpoint of another is not resumed."""
    packs = [hashlib.sha256((folder_of / f"{d.name}.safetensors").read_bytes()).hexdigest() for d in there for folder_of in (args.packs, args.start)]
    images = [name for d in there for name in d.learner.train.names]
    parts = [compressed.fingerprint, *(d.name for d in there), *packs, *images, str((args.distil, args.temperature, args.frozen))]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def families_of(args: argparse.Namespace) -> tuple[adapters.Family, adapters.Family]:
    """The family and the compressed one. Raises SystemExit unless one was made of the other."""
    family, compressed = adapters.Family(args.family), adapters.Family(args.compressed)
    if compressed.manifest.get("compressed", {}).get("fingerprint") != family.fingerprint:
        raise SystemExit(f"--compressed {args.compressed} was not made of {family.name} by `facet compress`. Name a family that was")
    return family, compressed


def main(argv: list[str] | None = None) -> dict:
    args = arguments(argv)
    family, compressed = families_of(args)
    args.start = args.start or Path(args.compressed).absolute().parent.parent / "adapters" / compressed.name
    names = args.only or sorted(path.stem for path in args.start.glob("*.safetensors"))
    if not names:
        raise SystemExit(f"{args.start} has no packs. Name the folder that `facet compress` wrote them to (--start)")
    loop.keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    trunk, there = adapters.GraphTrunk(family, args.device), []
    for name in names:
        there.append(load(name, args, trunk, compressed))
        print(f"{name}: {len(there[-1].learner.train):,} training images, {len(there[-1].measured):,} to measure on", flush=True)
    network = Shared(compressed, [d.start for d in there], args.frozen).to(args.device)
    task = Joint(network, trunk, there, (args.distil, args.temperature))
    for n, domain in enumerate(there):
        begin_head(network.domains[n]["head"], domain, features_of(network, n, task))
    scores = {d.name: {"pack": accuracy(d.teacher, d), "start": accuracy(adapters.Served(trunk, whole(network, n)), d)} for n, d in enumerate(there)}
    print_scores(scores)
    recipe = loop.Recipe(epochs=1, lr=args.lr, head_lr=args.head_lr, batch=args.batch, weight_decay=1e-3, schedule=((family.frame.crop, 1.0),),
                         seed=args.seed, precision=args.precision, steps=args.steps, optimizer="adamw", subject=subject_of(args, compressed, there))
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / f"{compressed.name}.state.pt"
    try:
        seconds = loop.fit(task, recipe, checkpoint)
    except (loop.Stopped, loop.OtherRun) as stopped:
        sys.exit(str(stopped))
    for n, domain in enumerate(there):
        tensors = whole(network, n)
        scores[domain.name]["trained"] = score = accuracy(adapters.Served(trunk, tensors), domain)
        keep(args.out / f"{domain.name}.safetensors", tensors, domain, score)
    print_scores(scores)
    result = {"family": family.name, "compressed": compressed.name, "fingerprint": compressed.fingerprint, "accuracy": scores,
              "mean": {key: mean(scores, key) for key in ("pack", "start", "trained")}, "ranks": {s["name"]: s["basis"] for s in compressed.slots if s.get("basis")},
              "images": {d.name: {"train": len(d.learner.train), "measured": len(d.measured)} for d in there}, "val_share": args.val_share,
              "distil": args.distil, "temperature": args.temperature, "frozen": args.frozen, "recipe": recipe.figures(),
              "parameters": compressed.manifest["parameters"], "seconds": round(seconds, 1), "date": datetime.date.today().isoformat(),
              "torch": str(torch.__version__), "device": args.device, "command": command(argv if argv is not None else sys.argv[1:])}
    (args.out / "joint.json").write_text(json.dumps(result, indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
    return result


def mean(scores: dict[str, dict[str, float]], key: str) -> float:
    return round(sum(score[key] for score in scores.values()) / len(scores), 2)


def print_scores(scores: dict[str, dict[str, float]]) -> None:
    """A table of top-1 in percent: the domain's own pack, through the bases at the start, and after training."""
    columns = list(next(iter(scores.values())))
    print(f"{'':16}" + "".join(f"{column:>10}" for column in columns))
    for name, score in {**scores, "mean": {column: mean(scores, column) for column in columns}}.items():
        print(f"{name:16}" + "".join(f"{score[column]:10.2f}" for column in columns), flush=True)


def command(argv: list[str]) -> str:
    """The command for another machine."""
    words, stand_in = list(argv), {"--data": "DIR", "--out": "DIR2"}
    for option in ("--threads", "--device"):
        if option in words:
            at = words.index(option)
            del words[at:at + 2]
    for at, word in enumerate(words[:-1]):
        if word in stand_in:
            words[at + 1] = stand_in[word]
        elif word in ("--family", "--compressed", "--packs", "--start"):
            words[at + 1] = "/".join(Path(words[at + 1]).parts[-2:])
    return "python training/joint.py " + shlex.join(words)


if __name__ == "__main__":
    main()
