"""Trains one trunk for several domains at once, and their packs with it: the next version of a family of ResNet-26.

    python training/universal.py --family models/resnet26-half --packs adapters/resnet26-half --data DIR --out training/runs/universal

Convolutions are trained by all domains together; normalisation, matrices in parallel and head belong to each. All start from the
family's base and packs, which are the teachers too (teaching.py), as single networks are in "Universal representation learning"
(Li, Liu and Bilen, ICCV 2021, arXiv 2103.13841). The trunk's own images stay among the domains, with the base as their pack, so
that new domains find what the trunk knew. Ctrl-C stops; the same command resumes.

Writes OUT/trunk.safetensors and OUT/trunk.onnx (for adapt.py and `facet family build`), and for each domain what adapt.py leaves:
OUT/<domain>.parallel.final.pt, from which export.py makes its pack, and OUT/results/<domain>.parallel.json.
What it does not know: new domains.
"""
from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import sys
from pathlib import Path

import torch
import torch.nn as nn
from safetensors.torch import save_file

import adapters
import convert
import data
import domains
import loop
import network as net
import pack
import pretrain
import teaching

BASE = "base"
# Images on which a normalisation's statistics are measured at the start.
STATISTICS_IMAGES = 512
# The least scale that a channel gets, as a share of its slot's largest: a matrix behind a scale of 0 has no A with BN(z + A v).
LEAST_SCALE = 1e-4


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--family", required=True, help="folder of a family of ResNet-26 with matrices in parallel")
    p.add_argument("--packs", required=True, type=Path, help="folder of its packs: where the domains start, and their teachers")
    p.add_argument("--data", required=True, type=Path, help=f"directory of <archive>.zip or unpacked folders, {pretrain.SOURCE.archive} and classes.json among them")
    p.add_argument("--out", required=True, type=Path, help="directory for trunk, networks and figures")
    p.add_argument("--only", nargs="+", choices=list(domains.DOMAINS), help="these domains only; default: all that have a pack")
    p.add_argument("--lr", type=float, default=1e-3, help="of convolutions, normalisation and matrices; default %(default)s")
    p.add_argument("--weight-decay", type=float, default=5e-2, help="AdamW's; default %(default)s")
    return teaching.parsed(p, argv, steps=1500)


class Universal(nn.Module):
    """Networks of several domains with the same convolutions: a tensor that is shared is one parameter."""

    def __init__(self, networks: list[net.ResNet26]):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        shared = {name: slot.conv.weight.requires_grad_(True) for name, slot in networks[0].slots().items()}
        for own in networks[1:]:
            for name, slot in own.slots().items():
                slot.conv.weight = shared[name]


class Together(teaching.Lessons):
    def answers(self, domain: int, x: torch.Tensor) -> torch.Tensor:
        return self.network.networks[domain](x)


def unfolded(tensors: dict[str, torch.Tensor], convolutions: dict[str, torch.Tensor], images: torch.Tensor) -> net.ResNet26:
    """The network of a pack with a normalisation that can be trained: its statistics are those of the images [N, 3, H, W], and it
    computes what the pack does, y = scale z + matrix v + bias = BN(z + A v). A pack without matrices gives the design bn."""
    head = tensors["head.weight"]
    design = "parallel" if any(name.endswith(".matrix") for name in tensors) else "bn"
    network = net.ResNet26(head.shape[0], head.shape[1] / 256, design).eval()
    norms = {**{name: slot.bn for name, slot in network.slots().items()}, "bn": network.bn}
    with torch.no_grad():
        network.head.weight.copy_(head), network.head.bias.copy_(tensors["head.bias"])
        for name, norm in norms.items():
            scale = tensors[f"{name}.scale"]
            least = LEAST_SCALE * float(scale.abs().max())
            norm.weight.copy_(torch.where(scale.abs() < least, torch.where(scale < 0, -least, least), scale)), norm.bias.copy_(tensors[f"{name}.bias"])
            norm.running_mean.zero_(), norm.running_var.fill_(1 - norm.eps)
        for name, slot in network.slots().items():
            slot.conv.weight.copy_(convolutions[f"{name}.weight"])
            if f"{name}.matrix" in tensors:
                slot.adapter.weight.copy_((tensors[f"{name}.matrix"] / slot.bn.weight[:, None])[:, :, None, None])
    measure(network, list(norms.values()), images)
    return network


@torch.no_grad()
def measure(network: net.ResNet26, norms: list[nn.BatchNorm2d], images: torch.Tensor) -> None:
    """Gives normalisations the statistics of their inputs, and weights with which they compute the same as before."""
    seen = {}
    handles = [norm.register_forward_pre_hook(lambda own, inputs: seen.__setitem__(own, torch.var_mean(inputs[0], (0, 2, 3), unbiased=False))) for norm in norms]
    network(images)
    for handle in handles:
        handle.remove()
    for norm in norms:
        variance, mean = seen[norm]
        norm.bias.add_(norm.weight * mean)
        norm.weight.mul_(torch.sqrt(variance + norm.eps))
        norm.running_mean.copy_(mean), norm.running_var.copy_(variance)


def source(args: argparse.Namespace, trunk: adapters.Trunk) -> teaching.Domain:
    """The trunk's own images, as a domain whose pack is the base; they are measured on their val, as in pretrain.py."""
    tensors, metadata = adapters.pack_of(Path(args.family) / "base.safetensors", "--family", trunk.family)
    folders, _ = data.classes(args.data, pretrain.SOURCE)
    teaching.check_classes(BASE, Path(args.data) / pretrain.SOURCE.archive, folders, metadata["labels"], args.data)
    train = data.load(args.data, pretrain.SOURCE, "train", folders, -(-teaching.MOST_IMAGES // len(folders)))
    learner = loop.Classification(None, train, metadata["mean"], metadata["std"], pretrain.SOURCE.flips, trunk.device)
    return teaching.Domain(BASE, adapters.Served(trunk, tensors), metadata, learner, data.load(args.data, pretrain.SOURCE, "val", folders))


def network_of(domain: teaching.Domain, trunk: adapters.GraphTrunk) -> net.ResNet26:
    learner = domain.learner
    some = learner.train.subset(range(0, len(learner.train), -(-len(learner.train) // STATISTICS_IMAGES)))
    images = torch.cat(list(data.test_batches(some, learner.mean, learner.std)))
    tensors = {**trunk.family.base, **{name: value.cpu() for name, value in domain.teacher.tensors.items()}}
    return unfolded(tensors, {name: value.cpu() for name, value in trunk.graph.constants.items()}, images)


def subject_of(args: argparse.Namespace, family: adapters.Family, there: list[teaching.Domain]) -> str:
    """What a run is of, in one word: a checkpoint of another is not resumed."""
    packs = [hashlib.sha256((args.packs / f"{d.name}.safetensors").read_bytes()).hexdigest() for d in there if d.name != BASE]
    images = [name for d in there for name in d.learner.train.names]
    parts = [family.fingerprint, *(d.name for d in there), *packs, *images, str((args.distil, args.temperature))]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def main(argv: list[str] | None = None) -> dict:
    args = arguments(argv)
    family = adapters.Family(args.family)
    names = args.only or [name for name in domains.DOMAINS if (args.packs / f"{name}.safetensors").is_file()]
    if not names:
        raise SystemExit(f"--packs {args.packs} holds no pack of a domain of training/domains.py")
    loop.keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    try:
        convert.of_family(Path(args.family))
    except ValueError as error:
        raise SystemExit(f"--family {error}") from error
    trunk = adapters.GraphTrunk(family, args.device)
    there = [source(args, trunk), *(teaching.load(args.packs / f"{name}.safetensors", args.data, trunk) for name in names)]
    scores = {d.name: {"pack": teaching.accuracy_of_teacher(d)} for d in there}
    network = Universal([network_of(domain, trunk) for domain in there])
    recipe = loop.Recipe(epochs=1, lr=args.lr, head_lr=args.head_lr, batch=args.batch, weight_decay=args.weight_decay, schedule=((data.CROP, 1.0),),
                         seed=args.seed, precision=args.precision, steps=args.steps, optimizer="adamw", subject=subject_of(args, family, there))
    checkpoint = args.out / "universal.state.pt"
    try:
        seconds = loop.fit(Together(network, there, args.device, (args.distil, args.temperature)), recipe, checkpoint)
    except (loop.Stopped, loop.OtherRun) as stopped:
        sys.exit(str(stopped))
    for domain, own in zip(there, network.networks):
        scores[domain.name]["trained"] = teaching.accuracy(own, domain)
    teaching.show(scores)
    result = {"family": family.name, "fingerprint": family.fingerprint, "accuracy": scores, "mean": teaching.means(scores),
              "images": {d.name: {"train": len(d.learner.train), "test": len(d.test)} for d in there}, "distil": args.distil,
              "temperature": args.temperature, "recipe": recipe.figures(), "seconds": round(seconds, 1), "date": datetime.date.today().isoformat(),
              "torch": str(torch.__version__), "device": args.device,
              "command": teaching.command("universal.py", argv if argv is not None else sys.argv[1:], {"--data": "DIR", "--out": "DIR2"})}
    network.cpu()
    write(args.out, network, there, result)
    checkpoint.unlink(missing_ok=True)
    return result


def write(out: Path, network: Universal, there: list[teaching.Domain], result: dict) -> None:
    """The trunk, and of each domain what adapt.py leaves of a run."""
    base = network.networks[0].eval()
    save_file(convert.trunk_tensors(base), str(out / "trunk.safetensors"))
    convert.export_onnx(base, out / "trunk.onnx", data.CROP)
    (out / "universal.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "results").mkdir(exist_ok=True)
    for domain, own in list(zip(there, network.networks))[1:]:
        name = f"{domain.name}.{own.design}"
        run = {"run": name, "domain": domain.name, "design": own.design, "accuracy": {"test": result["accuracy"][domain.name]["trained"]},
               "images": result["images"][domain.name], "classes": len(domain.metadata["labels"]), "shots": 0, "limit": -(-teaching.MOST_IMAGES // len(domain.metadata["labels"])), "val_share": 0.0, "dropout": 0.0,
               "init": "pack", **{key: result[key] for key in ("recipe", "seconds", "date", "torch", "device", "command")},
               "mean": domain.metadata["mean"], "std": domain.metadata["std"], "parameters": net.parameter_counts(own)}
        state = {name: value.clone() for name, value in own.state_dict().items()}
        loop.save({"network": state, "result": run, "labels": domain.metadata["labels"], "width": own.width}, out / f"{name}.final.pt")
        (out / "results" / f"{name}.json").write_text(json.dumps(run, indent=1) + "\n")


if __name__ == "__main__":
    main()
