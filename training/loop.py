"""The training loop (one cycle of SGD or AdamW that can be stopped and resumed at any step) and the measuring of accuracy.

Every step seeds its own random numbers from (seed, epoch, step), so a resumed run takes the same steps as an uninterrupted one.
What it does not know: domains, designs, files other than its checkpoint.
"""
from __future__ import annotations

import ctypes
import math
import os
import signal
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from tqdm import tqdm

import data
import fewshot

SAVE_EVERY_SECONDS = 60
EVALUATION_BATCH = 128


@dataclass
class Recipe:
    """Hyper-parameters of one run. `schedule`: (side, share of the steps) pairs; the cheap small sides come first. `drops`: shares of the run
    after which the learning rate falls to a tenth, instead of one cycle.

    If `steps` is not 0, the run has so many steps and `epochs` is ignored: for training sets of a few batches. `subject`: what is
    trained on what, in one word; a run is resumed only with the recipe and the subject that it began with.
    """

    epochs: int
    lr: float = 0.05
    head_lr: float = 0.05
    momentum: float = 0.9
    batch: int = 64
    weight_decay: float = 5e-4
    smoothing: float = 0.1
    schedule: tuple[tuple[int, float], ...] = ((32, 0.3), (48, 0.35), (64, 0.35))
    seed: int = 0
    precision: str = "bf16"
    compile: bool = False
    erase: float = 0.0
    steps: int = 0
    optimizer: str = "sgd"  # sgd (with Nesterov momentum) | adamw | adadelta
    drops: tuple[float, ...] = ()
    loss: str = "linear"  # of the linear head | prototype: of the batch's class means (fewshot.py)
    subject: str = ""

    def figures(self) -> dict:
        """The hyper-parameters, to be written down."""
        return {name: value for name, value in asdict(self).items() if name != "subject"}

    def scale(self, progress: float) -> float:
        """Factor of the learning rate. One cycle: linear from 0.1 to 1 over the first 15% of the steps, then a cosine to 0."""
        if self.drops:
            return 0.1 ** sum(progress >= drop for drop in self.drops)
        if progress < 0.15:
            return 0.1 + 0.9 * progress / 0.15
        return 0.5 * (1 + math.cos(math.pi * (progress - 0.15) / 0.85))

    def side(self, progress: float) -> int:
        for side, share in self.schedule:
            if progress < share:
                return side
            progress -= share
        return self.schedule[-1][0]


def parse_schedule(text: str) -> tuple[tuple[int, float], ...]:
    """Parses "32:0.3,64:0.7" to ((32, 0.3), (64, 0.7)). Raises ValueError unless the shares add up to 1."""
    pairs = tuple((int(side), float(share)) for side, share in (part.split(":") for part in text.split(",")))
    if abs(sum(share for _, share in pairs) - 1) > 1e-6:
        raise ValueError(f"the shares of {text!r} do not add up to 1")
    return pairs


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict]:
    """Weight decay on matrices, trainable convolutions and the head's weight; none on normalisation and biases."""
    groups = {}
    for name, p in network.named_parameters():
        if p.requires_grad:
            lr = recipe.head_lr if "head" in name.split(".") else recipe.lr
            decay = recipe.weight_decay if p.dim() > 1 else 0.0
            groups.setdefault((lr, decay), []).append(p)
    return [dict(params=ps, lr=lr, base_lr=lr, weight_decay=decay) for (lr, decay), ps in groups.items()]


def save(state: dict, path: Path) -> None:
    """Writes a file beside `path`, then renames it: so a checkpoint is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def keep_freed_memory() -> None:
    """Makes glibc keep the memory of freed tensors for the next ones. Otherwise every large tensor is mapped and zeroed by the
    kernel anew: a third of the CPU time of a step on a CPU. Does nothing where the C library has no mallopt."""
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # of mallopt(3)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for option, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**28)):
        mallopt(option, value)


def linear_loss(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    return F.cross_entropy(logits, targets, label_smoothing=smoothing)


LOSSES = {"linear": linear_loss, "prototype": fewshot.prototype_loss}


class Stopped(Exception):
    """SIGINT or SIGTERM was received. The checkpoint is written, and the same command resumes the run."""


class OtherRun(Exception):
    """The checkpoint is of a run with another recipe or subject."""


class _StopFlag:
    """While the loop runs, turns SIGINT and SIGTERM into a flag (main thread only)."""

    def __enter__(self):
        self.raised = False
        self.old = {s: signal.signal(s, self._set) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _set(self, *_):
        self.raised = True

    def __exit__(self, *_):
        for s, handler in self.old.items():
            signal.signal(s, handler)


def optimizer_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    groups = parameter_groups(network, recipe)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr)
    if recipe.optimizer == "adadelta":
        return torch.optim.Adadelta(groups, lr=recipe.lr)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True)


def check_same(state: dict, recipe: Recipe, checkpoint: Path) -> None:
    """Raises OtherRun where a checkpoint says that it began with another recipe or subject; old ones do not say. What a checkpoint
    does not name was not there to be chosen when it began, and then had the value that is now the default."""
    began, now = state.get("recipe"), asdict(recipe)
    defaults = {f.name: f.default for f in fields(Recipe)}
    differ = [name for name in now if began is not None and began.get(name, defaults[name]) != now[name]]
    if differ:
        what = ", ".join("what it is of: images, labels, family, packs or how they teach" if name == "subject" else name for name in differ)
        raise OtherRun(f"{checkpoint} is of a run that was stopped and began differently ({what}). Give the command that began it to go on, or remove the file to begin anew")


@dataclass(frozen=True)
class Moment:
    """Where a run is: `epoch`, `step` within it, `progress` as the share of the run that is done, and random numbers of this step alone."""

    epoch: int
    step: int
    progress: float
    rng: np.random.Generator


class Task(Protocol):
    """What a run learns. `network`: whose parameters are trained; it is moved to `device` before the first step."""

    network: nn.Module
    device: str

    def steps(self, recipe: Recipe) -> int:
        """Steps of an epoch."""

    def gradients(self, recipe: Recipe, moment: Moment) -> torch.Tensor:
        """Adds the gradients of one step to the parameters, and returns the loss, a scalar without a graph."""


def autocast(recipe: Recipe, device: str):
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16")


@dataclass
class Classification:
    """A network that learns the classes of one set of images. `mean`, `std`: of normalisation; `flips`: mirrorings that keep an image's class."""

    network: nn.Module
    train: data.Split
    mean: list[float]
    std: list[float]
    flips: str
    device: str
    frame: data.Frame = data.FRAME

    def __post_init__(self):
        self.ordered, self.order, self.answer = -1, [], None

    def steps(self, recipe: Recipe) -> int:
        return max(1, math.ceil(len(self.train) / recipe.batch))

    def batch(self, recipe: Recipe, moment: Moment) -> tuple[torch.Tensor, torch.Tensor]:
        """The images [N, 3, H, W] and classes [N] of a step: the next ones of the epoch's order."""
        if self.ordered != moment.epoch:
            shuffled = np.random.default_rng((recipe.seed, moment.epoch)).permutation(len(self.train))
            self.order, self.ordered = np.array_split(shuffled, self.steps(recipe)), moment.epoch
        chosen = self.order[moment.step]
        x = data.train_batch(self.train, chosen, self.mean, self.std, self.flips, recipe.side(moment.progress), moment.rng, recipe.erase, self.frame)
        return x.to(self.device), torch.from_numpy(self.train.targets[chosen]).to(self.device)

    def gradients(self, recipe: Recipe, moment: Moment) -> torch.Tensor:
        if self.answer is None:
            answer = self.network.features if recipe.loss == "prototype" else self.network
            self.answer = torch.compile(answer) if recipe.compile else answer
        x, y = self.batch(recipe, moment)
        with autocast(recipe, self.device):
            answers = self.answer(x)
        loss = LOSSES[recipe.loss](answers.float(), y, recipe.smoothing)
        loss.backward()
        return loss.detach()


def fit(task: Task, recipe: Recipe, checkpoint: Path, stop_after: int | None = None) -> float:
    """Trains the task's network in place. Resumes from `checkpoint` if it exists. Returns the seconds spent, those before a resume included.

    Raises OtherRun where the checkpoint is of another run. After `stop_after` steps (counted from the resume) it raises Stopped, as after a signal.
    """
    network = task.network.to(task.device, memory_format=torch.channels_last).train()
    optimizer = optimizer_of(network, recipe)
    steps = task.steps(recipe)
    done, before, taken = 0, 0.0, 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=task.device)
        check_same(state, recipe, checkpoint)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        done, before = state["step"], state["seconds"]
    started = saved = time.monotonic()

    def keep():
        save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": done, "recipe": asdict(recipe),
              "seconds": before + time.monotonic() - started}, checkpoint)

    total = recipe.steps or steps * recipe.epochs
    bar = tqdm(total=total, initial=done, desc=checkpoint.stem, unit="step", mininterval=5)
    with _StopFlag() as stop:
        while done < total:
            epoch, step = divmod(done, steps)
            rng = np.random.default_rng((recipe.seed, epoch, step))
            torch.manual_seed(int(rng.integers(2**31)))
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * recipe.scale(done / total)
            optimizer.zero_grad(set_to_none=True)
            loss = task.gradients(recipe, Moment(epoch, step, done / total, rng))
            optimizer.step()
            done, taken = done + 1, taken + 1
            bar.update()
            if step == 0 or taken % 20 == 0:
                bar.set_postfix(epoch=epoch, loss=f"{loss.item():.3f}")
            if stop.raised or taken == stop_after:
                keep()
                raise Stopped(f"stopped at step {done} of {total}; the same command resumes")
            if time.monotonic() - saved > SAVE_EVERY_SECONDS:
                keep()
                saved = time.monotonic()
    bar.close()
    if taken:
        keep()
    return before + time.monotonic() - started


@torch.no_grad()
def predict(network: nn.Module, split: data.Split, mean, std, device: str, resolution: int = 0,
            frame: data.Frame = data.FRAME) -> np.ndarray:
    """The predicted class index of each image of a split, in fp32 on the service's crop."""
    network.to(device).eval()
    batches = data.test_batches(split, mean, std, size=EVALUATION_BATCH, resolution=resolution, frame=frame)
    bar = tqdm(batches, total=math.ceil(len(split) / EVALUATION_BATCH), desc="measuring", unit="batch", mininterval=5, leave=False)
    found = [network(x.to(device)).argmax(1).cpu().numpy() for x in bar]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def accuracy(predicted: np.ndarray, split: data.Split) -> float:
    """Top-1 accuracy in percent, rounded to two digits."""
    return round(100 * float((predicted == split.targets).mean()), 2)
