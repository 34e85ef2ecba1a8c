"""What helps with a few images a class: the loss and head of the nearest class mean, statistics blended with the source's, and a
leave-one-out score by which a learning rate can be chosen without any other image.

Sources: prototypes by cosine and few steps of Adadelta, "Cross-domain few-shot learning with task-specific adapters" (TSA, CVPR 2022).
What it does not know: recipes, files, how training goes.
"""
from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import data

COSINE_SCALE = 10.0  # logits are cosines times this, as in TSA
RIDGE_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)  # times the number of images


def class_means(features: torch.Tensor, targets: torch.Tensor, classes: int) -> torch.Tensor:
    """The mean of each class's features [N, F], made unit vectors: [classes, F]; zero where a class has no image."""
    one_hot = F.one_hot(targets, classes).to(features.dtype)
    return F.normalize(one_hot.T @ features, dim=1)


def prototype_loss(features: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy of each image of a batch against the class means of the batch, by cosine. An image is left out of the mean of its
    own class, where there is another image of it. `features` [N, F], `targets` [N]; classes without an image do not take part."""
    present, own = torch.unique(targets, return_inverse=True)
    one_hot = F.one_hot(own, len(present)).to(features.dtype)
    sums, counts = one_hot.T @ features, one_hot.sum(0)
    logits = F.normalize(features, dim=1) @ F.normalize(sums, dim=1).T
    others = sums[own] - features * (counts[own] > 1).to(features.dtype)[:, None]
    left_out = F.cosine_similarity(features, others, dim=1)
    logits = torch.where(one_hot.bool(), left_out[:, None], logits)
    return F.cross_entropy(COSINE_SCALE * logits, own, label_smoothing=smoothing)


@torch.no_grad()
def set_prototype_head(head: nn.Linear, features: torch.Tensor, targets: torch.Tensor) -> None:
    """Makes the linear head answer the class whose mean is nearest by cosine: a feature's length scales all its logits alike, so the
    largest is the one of the largest cosine. The logits are cosines times COSINE_SCALE for a feature of mean length."""
    head.weight.copy_(class_means(features, targets, head.out_features) * (COSINE_SCALE / features.norm(dim=1).mean()))
    head.bias.zero_()


@torch.no_grad()
def blend_statistics(network: nn.Module, images: torch.Tensor, strength: float) -> None:
    """Replaces the running mean and variance of every batch normalisation by a blend of the source's and the domain's own, layer by
    layer in forward order, and freezes them. The domain's share is n / (n + strength) with n images; `images` [n, 3, H, W], normalised.
    """
    share = len(images) / (len(images) + strength)

    def blend(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        var, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), unbiased=False)
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(var, share)

    network.statistics_are_frozen = True
    network.eval()
    hooks = [m.register_forward_pre_hook(blend) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def features_of(network: nn.Module, split: data.Split, mean, std, device: str) -> torch.Tensor:
    """Features [N, F] of a split's centre crops, in fp32."""
    network.to(device).eval()
    return torch.cat([network.features(x.to(device)) for x in data.test_batches(split, mean, std)])


def leave_one_out(features: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """(accuracy in percent, mean squared error) of a ridge head onto class indicators when each image is answered by the head of all
    others, at the best of RIDGE_STRENGTHS. `features` [N, F], `targets` [N].

    Exact and of one decomposition: a left-out residual is the residual over 1 - h, h the image's entry on the diagonal of the hat
    matrix. Features are divided by their standard deviations over all images first; the head has a bias, which is not penalised.
    """
    x = features.astype(np.float64)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    y = np.eye(int(targets.max()) + 1)[targets]
    return max((ridge_left_out(x, y, strength * len(x)) for strength in RIDGE_STRENGTHS), key=lambda found: (found[0], -found[1]))


def ridge_left_out(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[float, float]:
    """leave_one_out at one strength of the penalty; `x` [N, F], `y` [N, K] with one 1 a row."""
    n, centred = len(x), x - x.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    u = u * np.sqrt(s**2 / (s**2 + strength))
    fitted = y.mean(0) + u @ (u.T @ (y - y.mean(0)))
    hat = 1 / n + (u**2).sum(1)
    residuals = (y - fitted) / np.maximum(1 - hat, 1e-9)[:, None]
    answers = y - residuals
    return 100 * float((answers.argmax(1) == y.argmax(1)).mean()), float((residuals**2).mean())


def largest_that_fits(scores: dict[float, float], images: int) -> float:
    """The largest learning rate whose leave-one-out accuracy (percent, of so many images) is within one standard error of the best, or within one
    image where that is more.

    On images that a network was adapted to, the score is near 100% at every rate that training bears, and says nothing about which of them
    is best; it falls where the rate is too large. Up to there more change helps a domain that is far from the source.
    """
    best = max(scores.values())
    error = max(math.sqrt(best * (100 - best) / images), 100 / images)
    return max(rate for rate, right in scores.items() if right >= best - error - 1e-9)
