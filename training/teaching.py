"""Several domains that learn at once, each with the pack that it has as its teacher.

A batch's loss is that of its classes, and how far its answers are from those of the domain's own pack (knowledge distillation,
Hinton et al. 2015). What it does not know: what is trained; how packs are written.
"""
from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

import adapters
import data
import domains
import folder
import loop

# Training images of a domain that a run may read: so many that none is seen more than a few times, so few that all domains fit in memory.
MOST_IMAGES = 15_000
# Where the repository has what these options name.
PLACES = {"--family": "models", "--compressed": "models", "--packs": "adapters", "--start": "adapters"}


@dataclass
class Domain:
    """One domain of a run. `teacher`: a trunk with its own pack, `metadata`: of that pack; `learner`: gives its batches; `test`: its
    test images."""

    name: str
    teacher: adapters.Served
    metadata: dict
    learner: loop.Classification
    test: data.Split


def parsed(p: argparse.ArgumentParser, argv: list[str] | None, steps: int) -> argparse.Namespace:
    """Parses the command with the options that every run with lessons has. `steps`: the default. Raises SystemExit for values that no run can have."""
    p.add_argument("--steps", type=int, default=steps, help="each is a batch of every domain; default %(default)s")
    p.add_argument("--batch", type=int, default=32, help="images of each domain; default %(default)s")
    p.add_argument("--head-lr", type=float, default=2e-3)
    p.add_argument("--distil", type=float, default=0.5, help="share of the loss that is the distance to the teacher; default %(default)s")
    p.add_argument("--temperature", type=float, default=2.0, help="of the answers that are compared; default %(default)s")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="of the training; accuracy is measured in fp32")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's default")
    args = p.parse_args(argv)
    if not 0 <= args.distil <= 1:
        raise SystemExit(f"--distil {args.distil}: a share from 0 to 1")
    if not args.temperature > 0:
        raise SystemExit(f"--temperature {args.temperature}: a number above 0")
    for option in ("steps", "batch"):
        if getattr(args, option) < 1:
            raise SystemExit(f"--{option} {getattr(args, option)}: a whole number from 1 on")
    return args


class Lessons:
    """The task of a run (loop.Task): one step takes a batch of every domain. `answers`, of a subclass, are what learns."""

    def __init__(self, network: nn.Module, there: list[Domain], device: str, teaching: tuple[float, float]):
        """`teaching`: share of the loss that is the distance to the teachers, and the temperature of what is compared."""
        self.network, self.there, self.device = network, there, device
        self.distil, self.temperature = teaching

    def steps(self, recipe: loop.Recipe) -> int:
        return recipe.steps

    def answers(self, domain: int, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, K] of normalised images [N, 3, H, W]."""
        raise NotImplementedError

    def gradients(self, recipe: loop.Recipe, moment: loop.Moment) -> torch.Tensor:
        total = torch.zeros((), device=self.device)
        for n, domain in enumerate(self.there):
            own = loop.Moment(*divmod(moment.step, domain.learner.steps(recipe)), moment.progress, moment.rng)
            x, y = domain.learner.batch(recipe, own)
            with loop.autocast(recipe, self.device):
                with torch.no_grad():
                    taught = domain.teacher(x).float()
                logits = self.answers(n, x).float()
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


def load(path: Path, place: Path, trunk: adapters.Trunk) -> Domain:
    """Reads a domain's pack, and its images, which lie in `place`. Raises SystemExit."""
    name, family = path.stem, trunk.family
    images_at = images_of(name, place)
    tensors, metadata = adapters.pack_of(path, "--packs", family)
    classes = len(metadata["labels"])
    try:
        images = folder.read(images_at, family.frame, limit=-(-MOST_IMAGES // classes), with_val=True)
    except folder.FolderError as error:
        raise SystemExit(f"{name}: {error}") from error
    check_classes(name, images_at, images.folders, metadata["labels"], place)
    if images.note != "test":
        raise SystemExit(f"{images_at} has no test split, and the pack {name} may have learnt any of its other images. Add test/<class>/<image>")
    print(f"{name}: {len(images.train):,} training and {len(images.test):,} test images", flush=True)
    flips = domains.DOMAINS[name].flips if name in domains.DOMAINS else "none"
    learner = loop.Classification(None, images.train, metadata["mean"], metadata["std"], flips, trunk.device, family.frame)
    return Domain(name, adapters.Served(trunk, tensors), metadata, learner, images.test)


def check_classes(name: str, images_at: Path, folders: list[str], labels: list[str], place: Path) -> None:
    """Raises SystemExit unless the class folders, in their order, are what the pack's labels say."""
    if len(folders) != len(labels):
        raise SystemExit(f"{images_at} has {len(folders)} class folders, and the pack {name} has {len(labels)} labels. They must be the classes that the pack was trained on")
    named = name in domains.DOMAINS and images_at.stem == domains.DOMAINS[name].archive and (place / "classes.json").is_file()
    wanted = data.classes(place, domains.DOMAINS[name])[1] if named else folders
    if labels != wanted and (named or set(labels) == set(folders)):
        there, label = next((a, b) for a, b in zip(wanted, labels) if a != b)
        raise SystemExit(f"{images_at}: the class {there!r} stands where the pack {name} has the label {label!r}. The labels must be in the order of the class folders' names")


def accuracy(network: nn.Module, domain: Domain) -> float:
    """Top-1 in percent of the domain's test images."""
    learner = domain.learner
    return loop.accuracy(loop.predict(network, domain.test, learner.mean, learner.std, learner.device, frame=learner.frame), domain.test)


def accuracy_of_teacher(domain: Domain) -> float:
    """That of the domain's own pack: as the pack says, where it was measured on as many images, and measured otherwise."""
    said = json.loads(domain.metadata.get("metrics", "{}"))
    return said["accuracy"] if said.get("test_images") == len(domain.test) and "accuracy" in said else accuracy(domain.teacher, domain)


def means(scores: dict[str, dict[str, float]]) -> dict[str, float]:
    """Of each column over the domains."""
    columns = next(iter(scores.values()))
    return {column: round(sum(score[column] for score in scores.values()) / len(scores), 2) for column in columns}


def show(scores: dict[str, dict[str, float]]) -> None:
    """Prints a table of top-1 in percent, a row for each domain and their mean."""
    columns = list(next(iter(scores.values())))
    print(f"{'':16}" + "".join(f"{column:>10}" for column in columns))
    for name, score in {**scores, "mean": means(scores)}.items():
        print(f"{name:16}" + "".join(f"{score[column]:10.2f}" for column in columns), flush=True)


def command(script: str, argv: list[str], stand_in: dict[str, str]) -> str:
    """The command for another machine: words stand for this machine's folders, and families and packs lie where the repository has them."""
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for option in ("--threads", "--device"):
        if option in words:
            at = words.index(option)
            del words[at:at + 2]
    for at, word in enumerate(words[:-1]):
        if word in stand_in:
            words[at + 1] = stand_in[word]
        elif word in PLACES:
            words[at + 1] = f"{PLACES[word]}/{Path(words[at + 1]).name}"
    return f"python training/{script} " + shlex.join(words)
