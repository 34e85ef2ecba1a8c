"""Turns trained networks into packs and model cards.

    python training/export.py --family models/resnet26-half --work training/runs              every trained parallel run
    python training/export.py --family models/resnet26-half --work training/runs --domain sketch --design series --out DIR
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import domains
import network as net
import pack


def restore(path: Path) -> tuple[net.ResNet26, dict]:
    """The network of a finished run (in evaluation mode), and everything that was saved with it: result, labels, folders."""
    saved = torch.load(path, map_location="cpu")
    design = saved["result"]["design"]
    network = net.ResNet26(len(saved["labels"]), saved["width"], design, matrices=saved["result"].get("matrices"))
    network.load_state_dict(saved["network"])
    return network.eval(), saved


def card(domain: domains.Domain, result: dict, family: str, path: Path, reference: dict[str, float],
         predictions: Path) -> str:
    """A model card in Markdown. `reference`: test accuracy of other designs that were run. `predictions`: the file that
    `evaluate.py` wrote for this pack, if it exists."""
    size, r = path.stat().st_size, result["recipe"]
    erased = f"random erasing of {r['erase']:.0%} of the images, " if r.get("erase") else ""
    placed = f"matrices at {len(result['matrices'])} slots ({result['slots']}), " if "matrices" in result else ""
    length = f"{r['steps']:,} steps" if r.get("steps") else f"{r['epochs']} epochs"
    lines = [
        f"# {domain.title} (`{domain.id}`)", "", f"{domain.description}. A {result['design']} adapter pack for `{family}`.", "",
        f"- **Data**: {result['images']['train']:,} training and {result['images']['test']:,} test images, {result['classes']:,} "
        "classes, shorter side 72, centre crop 64x64.",
        f"- **Licence of the data, as far as known**: {domain.license}. The weights carry no licence of their own beyond it.",
        f"- **Test accuracy (top-1)**: {result['accuracy']['test']:.2f}%, measured in PyTorch fp32 before rounding to fp16.",
    ]
    if predictions.is_file():
        seen = json.loads(predictions.read_text())
        lines.append(f"- **From the fp16 pack itself** (`training/evaluate.py`): {seen['correct']:,} of {len(seen['images']):,} test images right.")
    if reference:
        lines.append("- **Other designs, same test images**: "
                     + ", ".join(f"{k} {v:.2f}%" for k, v in reference.items()) + ".")
    lines += [
        f"- **Training**: {length}, batch {r['batch']}, one cycle to lr {r['lr']}, weight decay {r['weight_decay']}, "
        f"dropout {result['dropout']}, {erased}{placed}{result['init']} initialisation, seed {r['seed']}; {result['seconds']:.0f} s on "
        f"{result['device']} (torch {result['torch']}, {r['precision']}).",
        f"- **Date**: {result['date']}. **Size**: {size / 1e6:.2f} MB, fp16.",
        "- **Labels**: " + ("the data set's class ids" if domain.id == "omniglot" else "class names of the data set") + ".",
        "- **Use**: images like the data set's. Anything else gets a label too: softmax knows no \"none of these\".", "",
        "```", result["command"], "```", ""]
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--family", required=True, help="directory with family.json (name, fingerprint)")
    p.add_argument("--work", default="training/runs", help="directory in which adapt.py left <run>.final.pt")
    p.add_argument("--results", default=str(Path(__file__).parent / "results"))
    p.add_argument("--out", help="default adapters/<family>")
    p.add_argument("--domain", choices=list(domains.DOMAINS), help="only this domain")
    p.add_argument("--design", default="parallel", choices=net.ADAPTER_DESIGNS)
    p.add_argument("--run", help="the run's name, where it is not <domain>.<design>; needs --domain")
    p.add_argument("--dtype", choices=("fp16", "fp32"), default="fp16")
    args = p.parse_args()
    if args.run and not args.domain:
        p.error("--run needs --domain")

    manifest = Path(args.family) / "family.json"
    if not manifest.is_file():
        raise SystemExit(f"{manifest} does not exist; build the family first, its fingerprint goes into every pack")
    family = json.loads(manifest.read_text())
    out = Path(args.out or f"adapters/{family['name']}")
    for name in [args.domain] if args.domain else domains.DOMAINS:
        final = Path(args.work) / f"{args.run or f'{name}.{args.design}'}.final.pt"
        if not final.is_file():
            print(f"{name}: {final} does not exist, skipped")
            continue
        network, saved = restore(final)
        domain, result = domains.domain(name), saved["result"]
        path, tensors = out / f"{name}.safetensors", net.fold(network)
        bare = [slot["name"] for slot in family["slots"] if not slot["columns"] and f"{slot['name']}.matrix" in tensors]
        if bare:
            raise SystemExit(f"{final} has matrices at {len(bare)} slots that have none in {family['name']}, such as {bare[0]}. Train it with the --slots of the family")
        pack.write(path, tensors, family=family["fingerprint"], design=args.design, labels=saved["labels"],
                   mean=result["mean"], std=result["std"], dtype=torch.float16 if args.dtype == "fp16" else torch.float32,
                   name=domain.title, description=domain.description, license=domain.license, created=result["date"],
                   metrics=json.dumps({"accuracy": result["accuracy"]["test"], "test_images": result["images"]["test"]}))
        others = {}
        for design in net.DESIGNS:
            other = Path(args.results) / f"{name}.{design}.json"
            if design != args.design and other.is_file():
                others[design] = json.loads(other.read_text())["accuracy"]["test"]
        path.with_suffix(".md").write_text(card(domain, result, family["name"], path, others,
                                              Path(args.results) / "predictions" / f"{name}.json"))
        print(f"{path}: {path.stat().st_size:,} bytes, {result['accuracy']['test']}%")


if __name__ == "__main__":
    main()
