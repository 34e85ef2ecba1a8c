"""Writes the golden files of the service's numeric tests: small inputs and PyTorch's answers to them.

    python training/golden.py --trunk FILE --packs adapters/resnet26-half --out test/fixtures/golden

`<family>.safetensors`: `pixels` U8 [4, 64, 64, 3]; for the base and each chosen domain `features.<domain>` F32 [4, 128] and
`logits.<domain>` F32 [4, K], computed by pack.Runner (which folds nothing into convolutions). The metadata has the domains
with their mean and std.
`formulas.safetensors`: for each design and for strides 1 and 2 the parameters of a trained module, an input and its output,
so that folding can be tested independently: `<design>.<stride>.{x,y,conv,A,bn.*,bn1.*}`; A and bn1 only if the design has them.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import data
import network as net
import pack

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
IMAGES, CIN, COUT, SIDE = 4, 6, 8, 9


def pictures(generator: torch.Generator) -> torch.Tensor:
    """Four uint8 images [4, 64, 64, 3]: noise, smooth noise, a ramp from black to white, flat colours."""
    noise = torch.randint(0, 256, (64, 64, 3), generator=generator)
    coarse = torch.rand((1, 3, 6, 6), generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic", align_corners=False)[0].permute(1, 2, 0)
    ramp = torch.linspace(0, 255, 64)[None, :, None].expand(64, 64, 3)
    flat = torch.tensor([200.0, 40.0, 90.0]).expand(64, 64, 3).clone()
    flat[16:48, 16:48] = torch.tensor([10.0, 220.0, 250.0])
    return torch.stack([t.float().clamp(0, 255).round() for t in (noise, smooth, ramp, flat)]).to(torch.uint8)


def network_answers(trunk: dict, packs: Path, names: list[str]) -> tuple[dict[str, torch.Tensor], dict]:
    """Features and logits of the base and of each named pack on the same four images."""
    pixels = pictures(torch.Generator().manual_seed(7))
    tensors, about = {"pixels": pixels}, {}
    for name in ["base", *names]:
        if name == "base":
            own = {"head.weight": trunk["head.weight"], "head.bias": trunk["head.bias"]}
            meta = {"design": "parallel", "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        else:
            own, meta = pack.read(packs / f"{name}.safetensors")
        run = pack.Runner(trunk, own, meta["design"])
        features = run.features(data.normalise(pixels, meta["mean"], meta["std"]))
        tensors[f"features.{name}"] = features.contiguous()
        tensors[f"logits.{name}"] = run.logits(features).contiguous()
        about[name] = {"mean": meta["mean"], "std": meta["std"]}
    return tensors, about


def formula_answers() -> dict[str, torch.Tensor]:
    """One slot of each design with random parameters (of the size of trained ones), run by its module in evaluation mode."""
    generator, tensors = torch.Generator().manual_seed(11), {}

    def randomise(bn: torch.nn.BatchNorm2d):
        with torch.no_grad():
            for t, low, high in ((bn.weight, 0.5, 1.5), (bn.bias, -1, 1), (bn.running_mean, -1, 1), (bn.running_var, 0.3, 2)):
                t.copy_(torch.rand(t.shape, generator=generator) * (high - low) + low)

    for design in ("parallel", "series", "bn"):
        for stride in (1, 2):
            slot = net.Slot(CIN, COUT, stride, design, 0.0, "zero").eval()
            x = torch.randn((2, CIN, SIDE, SIDE), generator=generator)
            parts = {"x": x, "conv": slot.conv.weight}
            with torch.no_grad():
                slot.conv.weight.copy_(torch.randn(slot.conv.weight.shape, generator=generator) * 0.2)
            for key, bn in (("bn", slot.bn), ("bn1", getattr(slot, "adapter_bn", None))):
                if bn is not None:
                    randomise(bn)
                    parts.update({f"{key}.{p}": getattr(bn, p) for p in ("weight", "bias", "running_mean", "running_var")})
            if hasattr(slot, "adapter"):
                with torch.no_grad():
                    slot.adapter.weight.copy_(torch.randn(slot.adapter.weight.shape, generator=generator) * 0.3)
                parts["A"] = slot.adapter.weight[:, :, 0, 0]
            with torch.no_grad():
                parts["y"] = slot(x)
            tensors.update({f"{design}.{stride}.{k}": v.detach().contiguous().clone() for k, v in parts.items()})
    return tensors


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--trunk", required=True)
    p.add_argument("--packs", required=True)
    p.add_argument("--out", default="test/fixtures/golden")
    p.add_argument("--domains", nargs="*", default=["sign_digits", "eurosat", "fashion_mnist"])
    args = p.parse_args()
    torch.set_num_threads(1)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    tensors, about = network_answers(load_file(args.trunk), Path(args.packs), args.domains)
    save_file(tensors, str(out / f"{Path(args.packs).name}.safetensors"), {"domains": json.dumps(about)})
    save_file(formula_answers(), str(out / "formulas.safetensors"), {"eps": str(net.BN_EPS)})
    for path in sorted(out.glob("*.safetensors")):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
