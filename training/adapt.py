"""Adapts the trunk to one domain with one design, measures it and writes one results file.

    python training/adapt.py --domain sign_digits --design parallel --data DIR --trunk FILE --epochs 20
"""
from __future__ import annotations

import argparse
import datetime
import fcntl
import json
import shlex
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import data
import domains
import fewshot
import loop
import network as net
import slots

HERE = Path(__file__).parent
EXIT_RUN_IS_TAKEN = 3  # exit status: another process is doing this run
# Feature design: most augmented passes over the training images, and images that all passes together may have.
FEATURE_MAX_PASSES, FEATURE_MAX_IMAGES = 4, 8000


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--domain", required=True, choices=list(domains.DOMAINS))
    p.add_argument("--design", required=True, choices=net.DESIGNS)
    p.add_argument("--data", required=True, help="directory of <archive>.zip or unpacked folders, and classes.json")
    p.add_argument("--trunk", required=True, help="the trunk's .safetensors")
    p.add_argument("--epochs", type=int, default=20)
    p.add_argument("--steps", type=int, default=0, help="number of steps, instead of --epochs; for few images")
    p.add_argument("--slots", help="early, middle, late (joined by +), a file with a slot's name on each line, or a regular expression: "
                   "matrices at these slots only, at the others scale and bias; default: all")
    p.add_argument("--lr", type=float, help="default: by design, see default_rate")
    p.add_argument("--rates", type=numbers, default=[],
                   help="learning rates separated by commas: trains with each and keeps the largest whose leave-one-out score on the training images is "
                   "within one standard error of the best")
    p.add_argument("--drops", type=numbers, default=[], help="shares of the run, separated by commas, after which the learning rate falls to a tenth; default: one cycle")
    p.add_argument("--optimizer", choices=("sgd", "adamw", "adadelta"), default="sgd")
    p.add_argument("--loss", choices=tuple(loop.LOSSES), default="linear", help="prototype: nearest class mean by cosine, for few images")
    p.add_argument("--blend", type=float, help="blend the source's statistics with the domain's, whose share is n / (n + BLEND) with n images, and freeze "
                   "them; default: batch statistics")
    p.add_argument("--weight-decay", type=float, help="default: by design and training-set size, see default_decay")
    p.add_argument("--dropout", type=float, default=0.0, help="probability for a channel of the parallel branch's input")
    p.add_argument("--erase", type=float, default=0.0, help="share of training images with a random rectangle erased")
    p.add_argument("--init", choices=("zero", "he"), default="zero", help="initial values of the matrices")
    p.add_argument("--start", help="start from the weights of a finished run of this domain and design (its .final.pt)")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--schedule", type=loop.parse_schedule, default="32:0.3,48:0.35,64:0.35",
                   help="resolutions, each with its share of the steps; default %(default)s")
    p.add_argument("--val-share", type=float, default=0.0, help="hold out this share of train and measure on it, not on test")
    p.add_argument("--shots", type=int, default=0, help="train on this many random images a class")
    p.add_argument("--limit", type=int, default=0, help="train on the first N images a class")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    p.add_argument("--compile", action="store_true", help="torch.compile (torch 2.x)")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's default")
    p.add_argument("--name", help="name of the run; default <domain>.<design>")
    p.add_argument("--work", default="training/runs", help="directory for checkpoints (not for the repository)")
    p.add_argument("--results", default=str(HERE / "results"), help="directory for the results file")
    args = p.parse_args(argv)
    if args.slots and args.design not in net.MATRIX_DESIGNS:
        p.error(f"--slots chooses where matrices are; the design {args.design} has none")
    try:
        args.matrices = slots.chosen(args.slots, net.SLOT_NAMES) if args.slots else None
    except ValueError as error:
        p.error(str(error))
    return args


def default_decay(design: str, images: int) -> float:
    """Weight decay by design and training-set size; the search behind it is in training/README.md."""
    if design in ("finetune", "scratch", "feature", "bn"):
        return 5e-4
    return 2e-3 if images < 6000 else 5e-4


def default_rate(design: str) -> float:
    """Learning rate by design; the search behind it is in training/README.md."""
    return {"finetune": 0.02, "parallel": 0.2, "series": 0.2}.get(design, 0.05)


def recipe_of(args: argparse.Namespace, images: int) -> loop.Recipe:
    lr = args.lr if args.lr is not None else default_rate(args.design)
    decay = args.weight_decay if args.weight_decay is not None else default_decay(args.design, images)
    return loop.Recipe(epochs=args.epochs, lr=lr, head_lr=max(lr, 0.05), batch=min(args.batch, images), weight_decay=decay,
                       schedule=args.schedule, seed=args.seed, precision=args.precision, compile=args.compile, erase=args.erase,
                       steps=args.steps, optimizer=args.optimizer, loss=args.loss, drops=tuple(args.drops))


def network_of(args: argparse.Namespace, trunk: dict[str, torch.Tensor], classes: int) -> net.ResNet26:
    """A new network on the trunk, with matrices at the slots that --slots names."""
    torch.manual_seed(args.seed)
    network = net.ResNet26(classes, net.trunk_width(trunk), args.design, args.dropout, args.init, args.matrices)
    if args.start:
        network.load_state_dict(torch.load(args.start, map_location="cpu")["network"])
    elif args.design != "scratch":
        network.load_trunk(trunk)
    return network


def training_images(args, domain, folders) -> tuple[data.Split, data.Split]:
    """(train, val). With `--val-share`, val is the held-out part of train; without it, the data set's own `val` is added to
    train, and val is empty. `--shots` draws from the remaining train."""
    train = data.load(args.data, domain, "train", folders, args.limit)
    if args.val_share:
        train, val = data.hold_out(train, args.val_share, seed=0)
    else:
        train, val = data.join(train, data.load(args.data, domain, "val", folders, args.limit)), data.Split()
    return (data.few(train, args.shots, args.seed) if args.shots else train), val


def fit_head(network: net.ResNet26, train: data.Split, mean, std, flips: str, recipe: loop.Recipe, device: str) -> float:
    """Trains the feature design: computes the features of one to four augmented passes once, then trains the head alone.
    Returns the seconds spent."""
    started = time.monotonic()
    network.to(device, memory_format=torch.channels_last).eval()
    features, targets = [], []
    with torch.no_grad(), torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
        for view in range(max(1, min(FEATURE_MAX_PASSES, FEATURE_MAX_IMAGES // len(train)))):
            for part in np.array_split(np.arange(len(train)), max(1, len(train) // 128)):
                rng = np.random.default_rng((recipe.seed, view, int(part[0])))
                x = data.train_batch(train, part, mean, std, flips, data.CROP, rng)
                features.append(network.features(x.to(device)).float())
                targets.append(torch.from_numpy(train.targets[part]))
    x, y = torch.cat(features), torch.cat(targets).to(device)
    head = network.head
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5, momentum=0.9, nesterov=True, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(recipe.seed)
    total = max(2000, 10 * len(x) // 256)
    for step in range(total):
        chosen = torch.randint(len(x), (256,), generator=generator).to(device)
        optimizer.param_groups[0]["lr"] = 0.5 * recipe.scale(step / total)
        loss = F.cross_entropy(head(x[chosen]), y[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return time.monotonic() - started


@dataclass
class Problem:
    """What a run learns from: training images, their statistics, the domain's mirrorings, and where a stopped run goes on."""

    train: data.Split
    mean: list[float]
    std: list[float]
    flips: str
    checkpoint: Path
    device: str


def trained(network: net.ResNet26, problem: Problem, recipe: loop.Recipe, blend: float | None = None) -> float:
    """Trains in place, the head included. Returns the seconds spent."""
    train, mean, std = problem.train, problem.mean, problem.std
    if network.design == "feature":
        return fit_head(network, train, mean, std, problem.flips, recipe, problem.device)
    if blend is not None:
        network.to(problem.device)
        images = torch.cat(list(data.test_batches(train, mean, std)))
        fewshot.blend_statistics(network, images.to(problem.device), blend)
    seconds = loop.fit(loop.Classification(network, train, mean, std, problem.flips, problem.device), recipe, problem.checkpoint)
    if recipe.loss == "prototype":
        targets = torch.from_numpy(train.targets).to(problem.device)
        fewshot.set_prototype_head(network.head, fewshot.features_of(network, train, mean, std, problem.device), targets)
    return seconds


def left_out_score(network: net.ResNet26, problem: Problem) -> tuple[float, float]:
    """(accuracy in percent, squared error) of a ridge head on the network's features of the training images, each left out in turn."""
    features = fewshot.features_of(network, problem.train, problem.mean, problem.std, problem.device)
    right, error = fewshot.leave_one_out(features.cpu().numpy(), problem.train.targets)
    return round(right, 2), round(error, 5)


def trained_at_rates(rates: list[float], make, problem: Problem, recipe: loop.Recipe, blend: float | None) -> tuple[net.ResNet26, loop.Recipe, float, dict]:
    """Trains a network of `make()` with each rate and keeps one by the leave-one-out scores of its training images (fewshot.largest_that_fits);
    no other image is read. Returns (network, recipe, seconds of all, {rate: (accuracy, squared error)})."""
    networks, scores, seconds = {}, {}, 0.0
    for rate in rates:
        own = replace(problem, checkpoint=problem.checkpoint.with_suffix(f".{rate:g}.pt"))
        networks[rate] = make()
        seconds += trained(networks[rate], own, with_rate(recipe, rate), blend)
        scores[rate] = left_out_score(networks[rate], own)
        own.checkpoint.unlink(missing_ok=True)
    rate = fewshot.largest_that_fits({rate: right for rate, (right, _) in scores.items()}, len(problem.train))
    return networks[rate], with_rate(recipe, rate), seconds, {f"{rate:g}": score for rate, score in scores.items()}


def with_rate(recipe: loop.Recipe, rate: float) -> loop.Recipe:
    return replace(recipe, lr=rate, head_lr=max(rate, 0.05))


def main(argv: list[str] | None = None) -> dict:
    args = arguments(argv)
    domain = domains.domain(args.domain)
    name = args.name or f"{args.domain}.{args.design}"
    result_file, final = Path(args.results) / f"{name}.json", Path(args.work) / f"{name}.final.pt"
    if result_file.is_file() and (final.is_file() or args.val_share or args.shots):
        print(f"{name}: already done, {result_file}")
        return json.loads(result_file.read_text())
    lock = locked(args.work, name)  # held until this process ends
    loop.keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)

    folders, labels = data.classes(args.data, domain)
    train, val = training_images(args, domain, folders)
    mean, std = data.statistics(train)
    trunk, recipe = load_file(args.trunk), recipe_of(args, len(train))
    problem = Problem(train, mean, std, domain.flips, Path(args.work) / f"{name}.pt", args.device)
    scores = {}
    try:
        make = lambda: network_of(args, trunk, len(folders))
        if args.rates:
            network, recipe, seconds, scores = trained_at_rates(args.rates, make, problem, recipe, args.blend)
        else:
            network = make()
            seconds = trained(network, problem, recipe, args.blend)
            if args.shots:
                scores = {f"{recipe.lr:g}": left_out_score(network, problem)}
    except (loop.Stopped, loop.OtherRun) as stopped:
        sys.exit(f"{name}: {stopped}")

    measured = {"val": val} if args.val_share else {"test": data.load(args.data, domain, "test", folders)}
    accuracy = {k: loop.accuracy(loop.predict(network, s, mean, std, args.device), s) for k, s in measured.items()}
    script = Path(sys.argv[0]).name if argv is None else "adapt.py"
    result = {
        "run": name, "domain": args.domain, "design": args.design, "accuracy": accuracy,
        "images": {"train": len(train), **{k: len(s) for k, s in measured.items()}}, "classes": len(folders),
        "shots": args.shots, "limit": args.limit, "val_share": args.val_share, "dropout": args.dropout, "init": args.init,
        **({"slots": portable_path(args.slots), "matrices": args.matrices} if args.slots else {}),
        **({"blend": args.blend} if args.blend is not None else {}), **({"rates" if args.rates else "leave_one_out": scores} if scores else {}),
        "recipe": recipe.figures(), "mean": mean, "std": std, "parameters": net.parameter_counts(network),
        "seconds": round(seconds, 1), "date": datetime.date.today().isoformat(), "torch": str(torch.__version__),
        "device": args.device, "command": "python training/" + portable(script, argv or sys.argv[1:]),
    }
    if not (args.val_share or args.shots):
        loop.save({"network": {k: v.cpu() for k, v in network.state_dict().items()}, "result": result, "labels": labels,
                   "folders": folders, "width": network.width}, final)
    result_file.parent.mkdir(parents=True, exist_ok=True)
    result_file.write_text(json.dumps(result, indent=1) + "\n")
    problem.checkpoint.unlink(missing_ok=True)
    print(f"{name}: {accuracy} in {seconds:.0f} s")
    lock.close()
    return result


def locked(work: str, name: str):
    """The open lock file of a run. Exits with EXIT_RUN_IS_TAKEN where another process has it."""
    Path(work).mkdir(parents=True, exist_ok=True)
    lock = open(Path(work) / f"{name}.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{name}: another process is doing this run")
        sys.exit(EXIT_RUN_IS_TAKEN)
    return lock


def portable_path(text: str) -> str:
    """A path within the repository as seen from its root; any other text as it is."""
    root = f"{HERE.resolve().parent}/"
    return text[len(root):] if text.startswith(root) else text


def portable(script: str, argv: list[str]) -> str:
    """The command for another machine: paths are replaced by words, options that only concern this machine are dropped."""
    words, stand_in = [portable_path(word) for word in argv], {"--data": "DIR", "--trunk": "TRUNK", "--start": "RUN"}
    for i, word in enumerate(words):
        if word in stand_in:
            words[i + 1] = stand_in[word]
    for option in ("--work", "--results", "--threads"):
        if option in words:
            at = words.index(option)
            del words[at:at + 2]
    return shlex.join([script, *words])


if __name__ == "__main__":
    main()
