"""Attention rollout: how much of each input token reaches each token of a layer (Abnar and Zuidema, ACL 2020).

With A the mean of a layer's attention over its heads, a token keeps half of itself by the residual connection and
takes half by attention: (A + I) / 2, rows normalised to sum 1. The product of these over the layers, the later at
the left, is the rollout. Only the running product is kept: one matrix an image, however many layers there are.
"""

import torch


def with_residual(weights: torch.Tensor) -> torch.Tensor:
    """Return (A + I) / 2 with rows summing to 1, A the mean of `weights` (heads, T, T) over the heads.

    Float64, on the CPU. A row that holds a value which is not finite is not finite.
    """
    tokens = weights.shape[-1]
    # Head by head: a float64 copy of all heads would be far larger than the sum.
    mean = torch.zeros(tokens, tokens, dtype=torch.float64)
    for head in weights:
        mean += head.cpu()
    mean /= 2 * weights.shape[0]
    mean.diagonal().add_(0.5)
    return mean.div_(mean.sum(dim=1, keepdim=True))


def roll(product: torch.Tensor | None, weights: torch.Tensor) -> torch.Tensor:
    """Return the rollout up to the layer of `weights` (heads, T, T), of which `product` (T, T) is that before it.

    `product` is None before the first layer. Row i of the result says from which input tokens token i comes;
    every row sums to 1. Float64, on the CPU.
    """
    step = with_residual(weights)
    return step if product is None else step @ product
