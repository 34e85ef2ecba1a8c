"""Measures which matrices a domain needs, and writes lists of slots for adapt.py's --slots.

    python training/allocate.py --domain dtd10 --data DIR --trunk FILE --epochs 20

Takes adapt.py's options. A parallel network is trained on four fifths of train; then its matrices are zeroed one after another, each
time the one whose loss costs least for the parameters it frees, and the cost is measured on the held-out fifth. Written are the
order and its costs (`allocation/order/` of the results) and a list of slots for each budget (`--out`).

Why greedily and not by first order: at the end of training the gradient with respect to a matrix is near zero, so that its
first-order cost says little, and matrices stand in for one another, which only a measure after each removal sees. What a
normalisation sees changes when a matrix is zeroed, and training without it would mend that; so the statistics are those of the images
at hand in every measure.
"""
from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tqdm import tqdm

import adapt
import data
import domains
import loop
import network as net
import slots

HELD_OUT, AT_MOST = "0.2", 300  # share of train held out, and most of its images that are measured on
OUT = Path(__file__).parent / "allocations"


def budgets(parameters: dict[str, int]) -> dict[str, int]:
    """Parameters of matrices that each list may have: as many as the early and the middle slots have, and half of all."""
    thirds = slots.thirds(list(parameters))
    return {"as-early": sum(parameters[s] for s in thirds["early"]), "as-middle": sum(parameters[s] for s in thirds["middle"]),
            "half": sum(parameters.values()) // 2}


def removal_order(names: list[str], parameters: dict[str, int], loss_without) -> list[tuple[str, float]]:
    """Names with the loss after their removal, first removed first. Each time the one goes whose removal costs least a parameter, or
    gains most. `loss_without(names)`: the loss with these removed.

    A cost is measured again only when it is the lowest by the last measure: what a matrix is worth seldom falls as others go.
    """
    order, before = [], loss_without([])
    worth = {name: -math.inf for name in names}  # cost by the last measure; not measured yet: comes first
    bar = tqdm(total=len(names), desc="removing", mininterval=5)
    while worth:
        fresh = {}
        while (name := min(worth, key=worth.__getitem__)) not in fresh:
            fresh[name] = loss_without([*(gone for gone, _ in order), name])
            change = fresh[name] - before
            worth[name] = change / parameters[name] if change > 0 else change
        before = fresh[name]
        order.append((name, before))
        del worth[name]
        bar.update()
    bar.close()
    return order


def kept(order: list[str], parameters: dict[str, int], budget: int) -> list[str]:
    """What fits into the budget when names are taken from the last removed to the first; one that does not fit is passed over."""
    found, spent = [], 0
    for name in reversed(order):
        if spent + parameters[name] <= budget:
            found.append(name)
            spent += parameters[name]
    return found


@torch.no_grad()
def held_out_loss(network: net.ResNet26, images: torch.Tensor, targets: torch.Tensor, removed: list[str]) -> float:
    """Cross-entropy with the removed matrices at zero and with the images' own statistics; the network is left as it was."""
    modules = network.slots()
    weights = {name: modules[name].adapter.weight.detach().clone() for name in removed}
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for name in removed:
        modules[name].adapter.weight.zero_()
    network.eval()
    for norm in norms:
        norm.track_running_stats, norm.kept = False, (norm.running_mean, norm.running_var)
        norm.running_mean = norm.running_var = None
    try:
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            logits = network(images)
        return float(F.cross_entropy(logits.float(), targets))
    finally:
        for norm in norms:
            norm.track_running_stats = True
            norm.running_mean, norm.running_var = norm.kept
            del norm.kept
        for name, weight in weights.items():
            modules[name].adapter.weight.copy_(weight)


def main(argv: list[str] | None = None) -> None:
    argv, out = list(sys.argv[1:] if argv is None else argv), OUT
    if "--out" in argv:
        at = argv.index("--out")
        out = Path(argv[at + 1])
        del argv[at:at + 2]
    args = adapt.arguments(["--design", "parallel", "--val-share", HELD_OUT, *argv])
    result_file = Path(args.results) / f"{args.domain}.json"
    if result_file.is_file():
        print(f"{args.domain}: already done, {result_file}")
        return
    lock = adapt.locked(args.work, f"{args.domain}.order")  # held until this process ends
    loop.keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    domain = domains.domain(args.domain)
    folders, _ = data.classes(args.data, domain)
    train, val = adapt.training_images(args, domain, folders)
    mean, std = data.statistics(train)
    network = adapt.network_of(args, load_file(args.trunk), len(folders))
    problem = adapt.Problem(train, mean, std, domain.flips, Path(args.work) / f"{args.domain}.order.pt", args.device)
    recipe = adapt.recipe_of(args, len(train))
    try:
        seconds = adapt.trained(network, problem, recipe)
    except (loop.Stopped, loop.OtherRun) as stopped:
        sys.exit(f"{args.domain}: {stopped}")
    accuracy = loop.accuracy(loop.predict(network, val, mean, std, args.device), val)

    part = val.subset(list(range(0, len(val), -(-len(val) // AT_MOST))))
    images = torch.cat(list(data.test_batches(part, mean, std))).to(args.device, memory_format=torch.channels_last)
    targets = torch.from_numpy(part.targets).to(args.device)
    parameters = {name: slot.adapter.weight.numel() for name, slot in network.slots().items()}
    loss = lambda removed: held_out_loss(network, images, targets, removed)
    whole = loss([])
    order = removal_order(list(parameters), parameters, loss)
    lists = {}
    out.mkdir(parents=True, exist_ok=True)
    for budget, allowed in budgets(parameters).items():
        found = set(kept([name for name, _ in order], parameters, allowed))
        lists[budget] = [name for name in parameters if name in found]
        spent = sum(parameters[name] for name in lists[budget])
        (out / f"{args.domain}.{budget}.txt").write_text("\n".join([
            f"# {args.domain}, {budget}: matrices of {spent:,} of {allowed:,} allowed parameters, chosen by training/allocate.py", *lists[budget]]) + "\n")
    result_file.parent.mkdir(parents=True, exist_ok=True)
    result_file.write_text(json.dumps({
        "domain": args.domain, "accuracy": {"val": accuracy}, "loss": round(whole, 5), "images": {"train": len(train), "val": len(part)},
        "order": [[name, round(after, 5), parameters[name]] for name, after in order], "lists": lists, "recipe": recipe.figures(),
        "seconds": round(seconds, 1), "command": "python training/" + adapt.portable("allocate.py", argv)}, indent=1) + "\n")
    problem.checkpoint.unlink(missing_ok=True)
    print(f"{args.domain}: {accuracy}% of held-out images; lists in {out}")
    lock.close()


if __name__ == "__main__":
    main()
