"""Converts checkpoints of the paper's public PyTorch code into a trunk, a backbone and packs, and back.

    python training/convert.py CHECKPOINT --onnx-out net.onnx                                then: npm run facet -- family build net.onnx ...
    python training/convert.py CHECKPOINT --family models/NAME --task 1 --name svhn --pack-out svhn.safetensors
    python training/convert.py models/resnet26-half --trunk-out trunk.safetensors            the trunk that adapt.py takes

A family built from an export whose batch normalisations were folded away (PyTorch's default) has relative slots: its packs' scales are
divided by the backbone's, which --backbone names (docs/pack-format.md, "Folded normalisations").

CHECKPOINT is a file of `torch.save(net.state_dict(), ...)`, by itself or under a key such as `net` or `state_dict` beside anything
else (checkpoint.py reads it without running what is in it), or the folder of a family of this network.

Tensor names of the public code: `pre_layers_conv`, `layer<1-3>.<i>.conv1`, `layer<1-3>.<i>.conv2.1`, each with `conv` (3x3), `bns.<task>` and, in
parallel mode, `parallel_conv.<task>.conv`; in series mode `bns.<task>` is (`0.conv.0` BN', `0.conv.1` A), `1` BN;
`end_bns.<task>.0`; `linears.<task>`. Convolutions may lack adapters (the code's `proj` option): they get a zero matrix.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

import checkpoint
import network as net
import pack

BN_PARTS = ("weight", "bias", "running_mean", "running_var")


def public_modules() -> dict[str, str]:
    """Names of our slot modules to names of the public code, in forward order: `stem` to `pre_layers_conv` and so on."""
    names = {"stem": "pre_layers_conv"}
    for i in range(net.BLOCKS):
        stage, block = divmod(i, net.BLOCKS_PER_STAGE)
        names[f"blocks.{i}.c1"] = f"layer{stage + 1}.{block}.conv1"
        names[f"blocks.{i}.c2"] = f"layer{stage + 1}.{block}.conv2.1"
    return names


def mode_of(state: dict[str, torch.Tensor]) -> str:
    """`parallel`, `series` or `bn`, from the names present."""
    if any(".parallel_conv." in k for k in state):
        return "parallel"
    return "series" if any(".0.conv.0.weight" in k for k in state) else "bn"


def task_count(state: dict[str, torch.Tensor]) -> int:
    return 1 + max(int(k.split(".")[1]) for k in state if k.startswith("linears."))


def task_of(name: str) -> int | None:
    """The task to which a tensor of the public code belongs; None for a tensor that all tasks share."""
    words = name.split(".")
    for owner in ("bns", "parallel_conv", "end_bns", "linears"):
        if owner in words:
            return int(words[words.index(owner) + 1])
    return None


def to_network(state: dict[str, torch.Tensor], task: int) -> net.ResNet26:
    """One task of a public state dict as a network in evaluation mode.

    Raises ValueError that names tensors that are missing, of another shape, or unknown.
    """
    if "linears.0.weight" not in state:
        raise ValueError("no `linears.0.weight`: this is not a checkpoint of the paper's public code")
    if not 0 <= task < task_count(state):
        raise ValueError(f"task {task} of {task_count(state)}")
    mode = mode_of(state)
    head = state[f"linears.{task}.weight"]
    network = net.ResNet26(head.shape[0], head.shape[1] / 256, mode).eval()
    own, used = network.state_dict(), set()

    def take(ours: str, theirs: str) -> None:
        if theirs not in state:
            raise ValueError(f"missing tensor {theirs}")
        if state[theirs].shape != own[ours].shape:
            raise ValueError(f"{theirs} is {list(state[theirs].shape)}, expected {list(own[ours].shape)}")
        own[ours].copy_(state[theirs])
        used.add(theirs)

    for ours, theirs in public_modules().items():
        take(f"{ours}.conv.weight", f"{theirs}.conv.weight")
        bn = f"{theirs}.bns.{task}"
        adapted_series = f"{bn}.1.weight" in state
        if mode == "parallel" and f"{theirs}.parallel_conv.{task}.conv.weight" in state:
            take(f"{ours}.adapter.weight", f"{theirs}.parallel_conv.{task}.conv.weight")
        if adapted_series:
            take(f"{ours}.adapter.weight", f"{bn}.0.conv.1.weight")
        for part in BN_PARTS:
            if adapted_series:
                take(f"{ours}.adapter_bn.{part}", f"{bn}.0.conv.0.{part}")
            take(f"{ours}.bn.{part}", f"{bn}.1.{part}" if adapted_series else f"{bn}.{part}")
    for part in BN_PARTS:
        take(f"bn.{part}", f"end_bns.{task}.0.{part}")
    for part in ("weight", "bias"):
        take(f"head.{part}", f"linears.{task}.{part}")

    left = [k for k in state if k not in used and not k.endswith("num_batches_tracked") and task_of(k) in (None, task)]
    if left:
        raise ValueError(f"tensors with no place in the paper's ResNet-26: {', '.join(left)}")
    return network


def to_public(networks: list[net.ResNet26]) -> dict[str, torch.Tensor]:
    """Networks on one trunk, one per task, as a state dict of the public code (every convolution adapted).

    Raises ValueError if their designs or convolutions differ.
    """
    first = networks[0]
    state = {}
    for ours, theirs in public_modules().items():
        for task, network in enumerate(networks):
            slot, same = network.get_submodule(ours), first.get_submodule(ours)
            if slot.design != same.design or not torch.equal(slot.conv.weight, same.conv.weight):
                raise ValueError(f"task {task}: another design or trunk than task 0's at {ours}")
            state[f"{theirs}.conv.weight"] = slot.conv.weight.detach()
            bn = f"{theirs}.bns.{task}"
            if slot.design == "parallel":
                state[f"{theirs}.parallel_conv.{task}.conv.weight"] = slot.adapter.weight.detach()
            elif slot.design == "series":
                state[f"{bn}.0.conv.1.weight"] = slot.adapter.weight.detach()
                state.update({f"{bn}.0.conv.0.{p}": getattr(slot.adapter_bn, p).detach() for p in BN_PARTS})
                bn += ".1"
            state.update({f"{bn}.{p}": getattr(slot.bn, p).detach() for p in BN_PARTS})
    for task, network in enumerate(networks):
        state.update({f"end_bns.{task}.0.{p}": getattr(network.bn, p).detach() for p in BN_PARTS})
        state.update({f"linears.{task}.{p}": getattr(network.head, p).detach() for p in ("weight", "bias")})
    return state


def trunk_tensors(network: net.ResNet26) -> dict[str, torch.Tensor]:
    """Convolutions, normalisations and head by module name: the content of the trunk file that `adapt.py` reads."""
    return {k: v.detach().float().contiguous() for k, v in network.state_dict().items()
            if ".adapter" not in k and not k.endswith("num_batches_tracked")}


def of_family(directory: Path) -> net.ResNet26:
    """The base of a family of this network. A BN has the base's scale and bias as its weight and bias, and statistics of 0 and 1."""
    import adapters  # needs onnx

    family = adapters.Family(directory)
    weights = adapters.GraphTrunk(family, "cpu").graph.constants
    head = family.base["head.weight"]
    network = net.ResNet26(head.shape[0], head.shape[1] / 256, "bn").eval()
    own = network.state_dict()
    try:
        for name in network.slots():
            own[f"{name}.weight"].copy_(weights[f"{name}.weight"])
        for name in (*network.slots(), "bn"):
            norm = name if name == "bn" else f"{name[:-len('.conv')]}.bn"
            own[f"{norm}.weight"].copy_(family.base[f"{name}.scale"] * (1 + net.BN_EPS) ** 0.5)
            own[f"{norm}.bias"].copy_(family.base[f"{name}.bias"])
        for part in ("weight", "bias"):
            own[f"head.{part}"].copy_(family.base[f"head.{part}"])
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{directory} is no family of the paper's ResNet-26: {error}") from error
    return network


def relative_to(tensors: dict[str, torch.Tensor], backbone: net.ResNet26, slots: list[dict], design: str) -> dict[str, torch.Tensor]:
    """A pack's tensors for a family some of whose slots are relative: what multiplies a convolution there is divided by the g that the
    exporter multiplied into it, that of the backbone's batch normalisation. That is the scale [Cout] and, in series, the columns of the
    matrix. Raises ValueError where the backbone lost a channel (g = 0) that the pack uses."""
    modules, out = backbone.slots(), dict(tensors)
    for slot in slots:
        name = slot["name"]
        if not slot.get("relative") or f"{name}.scale" not in tensors:
            continue
        if name not in modules:
            raise ValueError(f"the backbone has no convolution {name}, whose slot is relative")
        g = net.affine(modules[name].bn)[0].float()
        for part in ("scale", "matrix") if design == "series" else ("scale",):
            value = tensors.get(f"{name}.{part}")
            if value is None:
                continue
            if bool(((g == 0) & (value != 0)).any()):
                raise ValueError(f"{name}.{part}: the backbone's scale of a channel is 0, so the folded export has nothing of it")
            out[f"{name}.{part}"] = torch.where(value == 0, value, value / g)
    return out


def export_onnx(network: net.ResNet26, path: Path, side: int) -> None:
    """Writes the network as ONNX, operator set 13, with its batch normalisations not folded: `image` float32 [N, 3, side, side],
    normalised, to `logits` [N, K]."""
    network = network.cpu().eval().to(memory_format=torch.contiguous_format)
    options = {"dynamo": False} if int(torch.__version__.split(".")[0]) >= 2 else {}
    torch.onnx.export(network, torch.zeros(1, 3, side, side), str(path), opset_version=13, input_names=["image"],
                      output_names=["logits"], dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False, **options)


def read_network(path: Path, task: int) -> net.ResNet26:
    """The network of a task of a checkpoint, or of a family's folder. Raises ValueError or OSError."""
    return of_family(path) if path.is_dir() else to_network(checkpoint.read_state(path), task)


def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", type=Path)
    p.add_argument("--task", type=int, default=0)
    p.add_argument("--trunk-out", type=Path, help="write a trunk: the convolutions, with this task's normalisation and head")
    p.add_argument("--onnx-out", type=Path, help="write the network of this task as ONNX, for facet family build")
    p.add_argument("--side", type=int, default=64, help="height and width of the ONNX file's input; default %(default)s")
    p.add_argument("--pack-out", type=Path, help="write this task as a pack (needs --family)")
    p.add_argument("--family", type=Path, help="directory with family.json")
    p.add_argument("--backbone", type=Path, help="the network that the family's backbone was exported from, a checkpoint (its task 0) or a family's "
                   "folder: needed where the family's slots are relative")
    p.add_argument("--dtype", choices=("fp16", "fp32"), default="fp16", help="of the pack's numbers; default %(default)s")
    p.add_argument("--name", help="the pack's human name")
    p.add_argument("--labels", type=Path, help="JSON array of labels; default: the class ids 0, 1, ...")
    p.add_argument("--mean", type=float, nargs=3, default=[0.485, 0.456, 0.406])
    p.add_argument("--std", type=float, nargs=3, default=[0.229, 0.224, 0.225])
    args = p.parse_args(argv)
    if not (args.trunk_out or args.pack_out or args.onnx_out):
        p.error("nothing to write: give --trunk-out, --onnx-out or --pack-out")
    if args.pack_out and not args.family:
        p.error("--pack-out needs --family: its fingerprint goes into the pack")
    try:
        network = read_network(args.checkpoint, args.task)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
    if args.trunk_out:
        save_file(trunk_tensors(network), str(args.trunk_out))
        print(f"{args.trunk_out}: trunk of width {network.width}")
    if args.onnx_out:
        export_onnx(network, args.onnx_out, args.side)
        print(f"{args.onnx_out}: backbone for images of {args.side}x{args.side}")
    if args.pack_out:
        family = json.loads((args.family / "family.json").read_text())
        count = network.head.out_features
        labels = json.loads(args.labels.read_text()) if args.labels else [str(i) for i in range(count)]
        tensors, slots = net.fold(network), family.get("slots", [])
        if any(slot.get("relative") for slot in slots):
            if not args.backbone:
                p.error(f"slots of {args.family} are relative, since its backbone was exported with folded normalisations: name the network that it was exported from with --backbone")
            try:
                tensors = relative_to(tensors, read_network(args.backbone, 0), slots, network.design)
            except (ValueError, OSError) as error:
                raise SystemExit(str(error)) from error
        pack.write(args.pack_out, tensors, family=family["fingerprint"], design=network.design, labels=labels, mean=args.mean, std=args.std,
                   dtype=torch.float16 if args.dtype == "fp16" else torch.float32, **({"name": args.name} if args.name else {}))
        print(f"{args.pack_out}: {network.design} pack of {count} classes, {args.dtype}")


if __name__ == "__main__":
    main()
