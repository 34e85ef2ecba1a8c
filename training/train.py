"""Trains a pack for any family on a folder of images: train|val|test/<class>/<image>, or <class>/<image>.

    python training/train.py DIR --out my.safetensors [--family models/NAME]

Writes the pack, a model card (.md) and the figures (.json) beside it. Ctrl-C stops; the same command resumes.
"""
from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import re
import shlex
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

import adapters
import data
import folder
import graph
import loop
import pack

# The family for new domains.
DEFAULT_FAMILY = Path(__file__).resolve().parent.parent / "models" / "efficientnet-lite0"
FEATURE_BATCH = 64
# Images on which the head's standardisation is based, and test images on which the network as trained and the pack's numbers are compared.
STANDARD_IMAGES, COMPARED_IMAGES = 2000, 1000
# Training images up to which mirrored ones are added for a head on frozen features.
MIRRORED_IMAGES = 3000
# Of a label, in characters: the service takes no longer one.
LABEL_LENGTH = 256
# The head on frozen features: steps, images a step, share of train that is held out to choose the weight decay, and the choices.
HEAD_STEPS, HEAD_BATCH, HEAD_HELD_OUT, HEAD_DECAYS = 1500, 256, 0.15, (1e-2, 1e-1, 1.0)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("images", help="folder or zip file of train|val|test/<class>/<image>, or of <class>/<image>")
    p.add_argument("--family", default=str(DEFAULT_FAMILY), help="the family's folder; default: models/efficientnet-lite0, whose trunk knows ImageNet")
    p.add_argument("--out", required=True, type=Path, help="the pack to write, NAME.safetensors")
    p.add_argument("--design", choices=adapters.DESIGNS, default="full",
                   help="full: all that the family's slots take (default); bn: scale and bias only; feature: a head on frozen features")
    p.add_argument("--rank", type=int, help="the rank of the matrices: that of the family, which is checked")
    p.add_argument("--start", type=Path, help="start from this pack of the family, such as one that `facet compress` wrote")
    p.add_argument("--epochs", type=int, default=12)
    p.add_argument("--lr", type=float, default=2e-3, help="of the adapter; default %(default)s")
    p.add_argument("--head-lr", type=float, default=1e-2)
    p.add_argument("--weight-decay", type=float, default=1e-3)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--schedule", type=schedule,
                   help="resolutions, each with its share of the steps, such as 64:0.5,128:0.5; default: the family's own")
    p.add_argument("--flips", choices=("none", "horizontal", "both"), default="none",
                   help="mirrorings after which an image still has its class; they make more of few images")
    p.add_argument("--erase", type=float, default=0.0, help="share of training images with a random rectangle erased")
    p.add_argument("--test-share", type=float, default=0.2, help="share of each class to hold out where DIR has no test; default %(default)s")
    p.add_argument("--with-val", action="store_true", help="train on val too")
    p.add_argument("--limit", type=int, default=0, help="train on the first N images a class")
    p.add_argument("--labels", type=Path, help="JSON object, class folder to label; default: the folders' names")
    p.add_argument("--name", help="the domain's name for people; default: the file's")
    p.add_argument("--description", help="what its images are, a sentence")
    p.add_argument("--license", help="licence of the pack")
    p.add_argument("--module", help="FILE.py:FUNCTION that returns the trunk as a PyTorch module; default: the family's own graph")
    p.add_argument("--dtype", choices=("fp16", "fp32"), default="fp16", help="of the pack's numbers")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the training; accuracy is measured in fp32")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's default")
    return p.parse_args(argv)


def schedule(text: str) -> tuple[tuple[int, float], ...]:
    try:
        return loop.parse_schedule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: give resolutions, each with its share of the steps, which add up to 1, such as 64:0.5,128:0.5") from error


def check(args: argparse.Namespace, family: adapters.Family) -> None:
    """Raises SystemExit for what can be seen to be wrong before images are read."""
    ranks = sorted({slot["rank"] for slot in family.slots if slot.get("rank")})
    if args.rank and args.rank not in ranks:
        has = f"has slots of rank {', '.join(map(str, ranks))}" if ranks else "has no slots of low rank"
        raise SystemExit(f"--rank {args.rank}: the family {family.name} {has}. The rank belongs to the family: npm run facet -- family build --rank {args.rank}")
    if args.start and args.design == "feature":
        raise SystemExit("--start: the design feature trains a head alone, and starts from nothing. Leave one of the two out")
    if args.design == "bn" and not family.slots:
        raise SystemExit(f"the family {family.name} has no slots; --design feature trains a head for it")
    if args.out.suffix != ".safetensors":
        raise SystemExit(f"--out {args.out}: a pack's name ends in .safetensors")
    if not 0 < args.test_share < 1:
        raise SystemExit(f"--test-share {args.test_share}: a share between 0 and 1")
    for option in ("epochs", "batch"):
        if getattr(args, option) < 1:
            raise SystemExit(f"--{option} {getattr(args, option)}: a whole number from 1 on")
    there = next(folder for folder in args.out.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise SystemExit(f"--out {args.out}: {there} cannot be written to: {error.strerror}. Name a file in a folder of yours") from error


def labels_of(args: argparse.Namespace, folders: list[str]) -> list[str]:
    """One label a class folder. Raises SystemExit for labels that no pack can have."""
    named = read_labels(args.labels) if args.labels else {}
    strange = sorted(set(named) - set(folders))
    if strange:
        raise SystemExit(f"--labels {args.labels}: {strange[0]!r} is no class folder; there are {', '.join(folders[:12])}{', ...' if len(folders) > 12 else ''}")
    labels = [named.get(name, name) for name in folders]
    for folder_name, label in zip(folders, labels):
        if not label.strip() or len(label) > LABEL_LENGTH or label != label.encode("utf-8", "ignore").decode():
            raise SystemExit(f"the class {folder_name!r} has the label {label!r}: a label is text of 1 to {LABEL_LENGTH} characters. Name it with --labels")
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise SystemExit(f"--labels {args.labels}: two classes have the label {twice[0]!r}")
    return labels


def read_labels(path: Path) -> dict[str, str]:
    try:
        named = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"--labels {path} cannot be read: {error}. Name a JSON object, class folder to label") from error
    if not isinstance(named, dict) or not all(isinstance(label, str) for label in named.values()):
        raise SystemExit(f"--labels {path} is no JSON object of texts, class folder to label")
    return named


def start_of(path: Path, family: adapters.Family, labels: list[str]) -> dict[str, torch.Tensor]:
    """The tensors of the pack that training starts from; the family sees images as the pack does from here on. Raises SystemExit."""
    tensors, metadata = adapters.pack_of(path, "--start", family)
    if metadata["labels"] != labels:
        raise SystemExit(f"--start {path} has {len(metadata['labels'])} labels, which are not those of the class folders ({len(labels)}: {', '.join(labels[:5])}). "
                         "Name the labels of the folders with --labels")
    family.mean, family.std = metadata["mean"], metadata["std"]
    return tensors


def subject_of(args: argparse.Namespace, family: adapters.Family, images: folder.Images) -> str:
    """What a run is of, in one word: a checkpoint of another is not resumed."""
    started = [hashlib.sha256(args.start.read_bytes()).hexdigest()] if args.start else []
    parts = [family.fingerprint, args.design, str(args.module), args.flips, *started, *images.folders, *images.train.names]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


@torch.no_grad()
def frozen_features(network: adapters.Adapted, split: data.Split, family: adapters.Family, device: str, what: str) -> torch.Tensor:
    """[N, F], of the service's crop."""
    batches = data.test_batches(split, family.mean, family.std, FEATURE_BATCH, frame=family.frame)
    bar = tqdm(batches, total=-(-len(split) // FEATURE_BATCH), desc=what, unit="batch", mininterval=2, leave=False)
    return torch.cat([network.features(x.to(device)).cpu() for x in bar])


def mirrored(split: data.Split, flips: str) -> data.Split:
    """The split, and after it every image mirrored in the same order, where that keeps the classes and images are few."""
    if flips == "none" or len(split) > MIRRORED_IMAGES:
        return split
    return data.join(split, data.Split([p[:, ::-1] for p in split.pixels], split.targets, split.names))


def fit_head(head: adapters.Head, features: torch.Tensor, targets: torch.Tensor, decay: float, seed: int) -> None:
    """Trains a head on fixed features: AdamW, one cycle."""
    recipe = loop.Recipe(epochs=0)
    optimizer = torch.optim.AdamW([{"params": [head.weight], "weight_decay": decay}, {"params": [head.bias], "weight_decay": 0.0}], lr=1e-2)
    generator = torch.Generator().manual_seed(seed)
    for step in tqdm(range(HEAD_STEPS), desc=f"head, weight decay {decay:g}", unit="step", mininterval=2, leave=False):
        chosen = torch.randint(len(features), (HEAD_BATCH,), generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = 2e-2 * recipe.scale(step / HEAD_STEPS)
        loss = F.cross_entropy(head(features[chosen]), targets[chosen], label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def train_head(network: adapters.Adapted, train: data.Split, family: adapters.Family, args: argparse.Namespace) -> dict:
    """The design `feature`: a head on frozen features, its weight decay chosen on held-out training images."""
    originals = len(train)
    train = mirrored(train, args.flips)
    features = frozen_features(network, train, family, args.device, "features of train")
    targets = torch.from_numpy(train.targets)
    network.head.standardise(features)
    order = torch.from_numpy(np.random.default_rng(args.seed).permutation(originals))
    held = torch.zeros(originals, dtype=torch.bool)
    held[order[:max(1, round(originals * HEAD_HELD_OUT))]] = True
    held_all = held.repeat(len(train) // originals)
    scores = {}
    for decay in HEAD_DECAYS:
        head = adapters.Head(family.features, len(network.head.bias))
        head.load_state_dict({k: v.clone() for k, v in network.head.state_dict().items()})
        fit_head(head, features[~held_all], targets[~held_all], decay, args.seed)
        with torch.no_grad():
            scores[decay] = float((head(features[held_all]).argmax(1) == targets[held_all]).float().mean())
    best = max(scores, key=lambda decay: scores[decay])
    fit_head(network.head, features, targets, best, args.seed)
    return {"steps": HEAD_STEPS, "batch": HEAD_BATCH, "weight_decay": best, "held_out": {f"{k:g}": round(100 * v, 2) for k, v in scores.items()}}


def checkpoint_of(args: argparse.Namespace) -> Path:
    return args.out.with_suffix(".state.pt")


def fit(args: argparse.Namespace, family: adapters.Family, network: adapters.Adapted, images: folder.Images) -> tuple[dict, float]:
    """Trains the network. Returns the recipe's figures and the seconds spent. Raises what loop.fit raises, and graph.GraphError."""
    started = time.monotonic()
    if args.design == "feature":
        figures = train_head(network, images.train, family, args)
        return figures, time.monotonic() - started
    sample = images.train.subset(np.random.default_rng(args.seed).permutation(len(images.train))[:STANDARD_IMAGES])
    network.head.standardise(frozen_features(network, sample, family, args.device, "features at the start").to(args.device))
    if args.start:
        tensors, _ = pack.read(args.start)
        network.head.start(tensors["head.weight"], tensors["head.bias"])
    recipe = loop.Recipe(epochs=args.epochs, lr=args.lr, head_lr=args.head_lr, batch=min(args.batch, len(images.train)), erase=args.erase,
                         weight_decay=args.weight_decay, schedule=args.schedule or ((family.frame.crop, 1.0),), seed=args.seed,
                         precision=args.precision, optimizer="adamw", subject=subject_of(args, family, images))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    task = loop.Classification(network, images.train, family.mean, family.std, args.flips, args.device, family.frame)
    seconds = loop.fit(task, recipe, checkpoint_of(args))
    return recipe.figures(), seconds


def predicted(network, split: data.Split, family: adapters.Family, args) -> np.ndarray:
    return loop.predict(network, split, family.mean, family.std, args.device, frame=family.frame)


def trunks(args: argparse.Namespace, family: adapters.Family) -> tuple[adapters.Trunk, adapters.Trunk]:
    """What is trained through, and what the pack is measured in: the family's own graph, where PyTorch can run it.

    Raises graph.GraphError, or SystemExit for a module that does not compute what the family's graph does.
    """
    if not args.module:
        own = adapters.GraphTrunk(family, args.device)
        return own, own
    module = adapters.ModuleTrunk(family, args.module, args.device)
    try:
        own = adapters.GraphTrunk(family, args.device)
        adapters.compare(module, own, family)
    except graph.GraphError as error:
        print(f"The module is not compared with the family's graph, which cannot be run here: {error}", flush=True)
        return module, module
    return module, own


def card(args, family: adapters.Family, images: folder.Images, result: dict, labels: list[str]) -> str:
    """A model card in Markdown."""
    scores, recipe = result["accuracy"], result["recipe"]
    shown = ", ".join(labels[:12]) + (f" and {len(labels) - 12} more" if len(labels) > 12 else "")
    how = (f"{recipe['epochs']} epochs, batch {recipe['batch']}, AdamW, one cycle to lr {recipe['lr']} (head {recipe['head_lr']}), weight decay "
           f"{recipe['weight_decay']}, resolutions {', '.join(f'{s}: {share:.0%}' for s, share in recipe['schedule'])}, seed {recipe['seed']}"
           if args.design != "feature" else f"{recipe['steps']} steps of {recipe['batch']} on fixed features, weight decay {recipe['weight_decay']:g} chosen on held-out training images")
    lines = [
        f"# {args.name}", "", f"{args.description.rstrip('.') + '. ' if args.description else ''}A pack for `{family.name}`, design {args.design}.", "",
        f"- **Data**: {len(images.train):,} training and {len(images.test):,} test images ({images.note}), {len(labels):,} classes: {shown}.",
        f"- **Licence**: {args.license or 'not stated'}.",
        f"- **Test accuracy (top-1)**: {scores['test']:.2f}%, by the pack's own numbers ({args.dtype}) in {result['measured']}. On {scores['compared']:,} of the test "
        f"images {scores['trained']:.2f}% before folding and {scores['folded']:.2f}% after.",
        f"- **Training**: {how}; {result['seconds']:.0f} s on {args.device} (torch {result['torch']}), through {result['trunk']}.",
        f"- **Preprocessing**: shorter side {family.frame.resize}, centre crop {family.frame.height}x{family.frame.width}.",
        f"- **Date**: {result['date']}. **Size**: {result['bytes'] / 1e6:.2f} MB.",
        "- **Use**: images like the training images. Anything else gets a label too.", "", "```", result["command"], "```", ""]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> dict:
    args = arguments(argv)
    family = adapters.Family(args.family)
    check(args, family)
    args.name = args.name or args.out.stem
    loop.keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    try:
        trunk, own = trunks(args, family)
        images = folder.read(args.images, family.frame, args.test_share, args.seed, args.limit, args.with_val)
    except (folder.FolderError, graph.GraphError) as error:
        raise SystemExit(str(error)) from error
    labels = labels_of(args, images.folders)
    print(f"{args.name}: {len(images.train):,} training, {len(images.val):,} validation and {len(images.test):,} test images ({images.note}) "
          f"of {len(labels):,} classes; design {args.design} through {trunk.description}", flush=True)
    if images.others:
        print(f"Left out, as no images by their names: {len(images.others):,} files, such as {images.others[0]}", flush=True)
    start = start_of(args.start, family, labels) if args.start else None
    network = adapters.Adapted(trunk, adapters.Adapter(family, args.design, start), adapters.Head(family.features, len(labels))).to(args.device)
    try:
        recipe, seconds = fit(args, family, network, images)
    except (loop.Stopped, loop.OtherRun) as stopped:
        sys.exit(f"{args.name}: {stopped}")
    except graph.GraphError as error:
        hint = ". The graph may take images of its own size only: leave --schedule out" if args.schedule else ""
        raise SystemExit(f"{error}{hint}") from error
    result = {"name": args.name, "family": family.name, "fingerprint": family.fingerprint, "design": args.design, "accuracy": {},
              "images": {"train": len(images.train), "val": len(images.val), "test": len(images.test)}, "classes": len(labels), "limit": args.limit,
              "recipe": recipe, "parameters": sum(p.numel() for p in network.adapter.parameters()), "seconds": round(seconds, 1),
              "date": datetime.date.today().isoformat(), "torch": str(torch.__version__), "device": args.device,
              "trunk": "a module" if args.module else "the family's graph",
              "measured": "the module" if own is trunk and args.module else "the family's graph", "command": command(argv if argv is not None else sys.argv[1:])}
    try:
        write(args, family, (network, own), labels, images, result)
    except ValueError as error:  # numbers that no pack can hold
        raise SystemExit(f"{args.out} is not written: {error}") from error
    checkpoint_of(args).unlink(missing_ok=True)
    print(f"{args.out}: {result['bytes']:,} bytes. Register it with a service that serves the family:\n"
          f"  curl --fail -X PUT --data-binary @{shlex.quote(str(args.out))} -H 'Content-Type: application/octet-stream' http://127.0.0.1:8080/v1/domains/{domain_id(args.out.stem)}")
    return result


def domain_id(name: str) -> str:
    """The name as a domain's id: lower-case ASCII letters, digits, dots, dashes and underscores, 63 at most."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._-]+", "-", plain).strip("._-")[:63] or "my-domain"


def measure(args, family: adapters.Family, network: adapters.Adapted, served: adapters.Served, images: folder.Images) -> dict:
    """Accuracy in percent: `test` and `val` (None without such a split) by the pack's own numbers, and on some test images both
    `trained` and `folded`, by the network before and by the pack after folding and rounding."""
    found = predicted(served, images.test, family, args)
    order = np.sort(np.random.default_rng(0).permutation(len(images.test))[:COMPARED_IMAGES])
    some = images.test.subset(order)
    before = predicted(network, some, family, args)
    return {"test": loop.accuracy(found, images.test), "compared": len(order), "trained": loop.accuracy(before, some),
            "folded": loop.accuracy(found[order], some), "differ": int((before != found[order]).sum()),
            "val": loop.accuracy(predicted(served, images.val, family, args), images.val) if len(images.val) else None}


def write(args, family: adapters.Family, trained: tuple[adapters.Adapted, adapters.Trunk], labels: list[str], images: folder.Images,
          result: dict) -> None:
    """Writes the pack beside its place, measures it, and moves it there with its card and figures. `trained`: the network, and what
    its pack is measured in."""
    network, own = trained
    part = args.out.with_suffix(".part.safetensors")
    design = "feature" if args.design == "feature" else "bn" if args.design == "bn" else family.manifest["design"]
    optional = {k: v for k, v in (("description", args.description), ("license", args.license)) if v}
    how = dict(family=family.fingerprint, design=design, labels=labels, mean=family.mean, std=family.std, name=args.name, created=result["date"],
               dtype=torch.float16 if args.dtype == "fp16" else torch.float32, **optional)
    pack.write(part, network.tensors(), **how)
    scores = result["accuracy"] = measure(args, family, network, adapters.Served(own, pack.read(part)[0]), images)
    if args.start:
        scores["start"] = loop.accuracy(predicted(adapters.Served(own, pack.read(args.start)[0]), images.test, family, args), images.test)
        print(f"{args.name}: test accuracy of the pack that it started from {scores['start']:.2f}%", flush=True)
    print(f"{args.name}: test accuracy {scores['test']:.2f}%. Folding into the pack ({args.dtype}): {scores['trained']:.2f}% as trained, {scores['folded']:.2f}% "
          f"from the pack in {result['measured']}, on {scores['compared']:,} of the test images", flush=True)
    pack.write(part, network.tensors(), metrics=json.dumps({"accuracy": scores["test"], "test_images": len(images.test)}), **how)
    result["bytes"] = part.stat().st_size
    os.replace(part, args.out)
    args.out.with_suffix(".md").write_text(card(args, family, images, result, labels), encoding="utf-8")
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def command(argv: list[str]) -> str:
    """The command without what concerns this machine alone."""
    words = list(argv)
    for option in ("--threads", "--device"):
        if option in words:
            at = words.index(option)
            del words[at:at + 2]
    return "python training/train.py " + shlex.join(words)


if __name__ == "__main__":
    main()
