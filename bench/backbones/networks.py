"""The networks that people bring, with random weights. No weights are downloaded.

Statistics and scales are drawn anew, so that a normalisation that is left out, or a layer whose scale starts at almost 0,
shows in the output.
"""
from __future__ import annotations

from typing import Callable

import torch
from torch import nn


class Embedding(nn.Module):
    """CLIP's image tower as people export it: the embedding, and what it was projected from."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.clip(pixel_values=image)
        return found.image_embeds, found.last_hidden_state


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import torchvision
        return getattr(torchvision.models, name)(weights=None)
    return make


def _timm(name: str, **options: object) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import timm
        return timm.create_model(name, pretrained=False, **options)
    return make


def _clip() -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    config = CLIPVisionConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                              image_size=224, patch_size=32, projection_dim=512)
    return Embedding(CLIPVisionModelWithProjection(config))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": _torchvision("resnet18"),
    "resnet50": _torchvision("resnet50"),
    "resnext50_32x4d": _torchvision("resnext50_32x4d"),
    "densenet121": _torchvision("densenet121"),
    "mobilenet_v2": _torchvision("mobilenet_v2"),
    "mobilenet_v3_large": _torchvision("mobilenet_v3_large"),
    "efficientnet_b0": _torchvision("efficientnet_b0"),
    "regnet_y_400mf": _torchvision("regnet_y_400mf"),
    "convnext_tiny": _torchvision("convnext_tiny"),
    "swin_t": _torchvision("swin_t"),
    "vit_b_16": _torchvision("vit_b_16"),
    "dinov2_vit_s14": _timm("vit_small_patch14_dinov2", img_size=224, num_classes=100),
    "clip_vit_b32": _clip,
    "efficientnet_lite0": _timm("tf_efficientnet_lite0"),
    "resnetv2_50_gn_ws": _timm("resnetv2_50x1_bit", num_classes=100),
}

SIZE = 224


def make(name: str, seed: int = 1) -> nn.Module:
    """The network in evaluation mode."""
    torch.manual_seed(seed)
    network = NETWORKS[name]().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.6, 1.4)
                module.weight.uniform_(0.6, 1.4)
                module.bias.normal_(0, 0.1)
            elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
                module.weight.uniform_(0.6, 1.4)
                module.bias.normal_(0, 0.1)
        for parameter_name, parameter in network.named_parameters():
            if parameter_name.split(".")[-1] in ("layer_scale", "gamma"):
                parameter.uniform_(0.1, 0.5)
            elif parameter.dim() <= 1 and parameter_name.endswith("bias") and parameter.abs().max() == 0:
                parameter.normal_(0, 0.1)
            elif parameter.abs().max() == 0:
                parameter.normal_(0, 0.02)
    return network
