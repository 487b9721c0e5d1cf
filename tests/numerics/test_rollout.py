"""Attention rollout against plain loops in numpy."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reportgen.numerics.rollout import roll, with_residual

Array = NDArray[np.float64]


def attention(layers: int, heads: int, tokens: int, seed: int = 0) -> Array:
    """Random weights (layers, heads, tokens, tokens), rows summing to 1."""
    weights = np.exp(np.random.default_rng(seed).normal(0, 2, (layers, heads, tokens, tokens)))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def rollout(layers: Array) -> Array:
    """Abnar and Zuidema's equations, element by element: what reaches token i of the last layer from token j."""
    tokens = layers.shape[-1]
    reached = np.eye(tokens)
    for heads in layers:
        after = np.zeros((tokens, tokens))
        for i in range(tokens):
            step = [0.5 * sum(head[i, k] for head in heads) / len(heads) + 0.5 * (i == k) for k in range(tokens)]
            for j in range(tokens):
                after[i, j] = math.fsum(step[k] / math.fsum(step) * reached[k, j] for k in range(tokens))
        reached = after
    return reached


@pytest.mark.parametrize(("layers", "heads", "tokens"), [(1, 1, 1), (1, 3, 5), (4, 2, 6), (7, 5, 9)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_running_product_is_the_rollout(layers: int, heads: int, tokens: int, dtype: torch.dtype) -> None:
    weights = torch.from_numpy(attention(layers, heads, tokens)).to(dtype)
    product = None
    for layer in weights:
        product = roll(product, layer)
    assert product is not None
    assert product.dtype == torch.float64
    np.testing.assert_allclose(product.numpy(), rollout(weights.double().numpy()), rtol=0, atol=1e-12)


def test_the_order_of_the_layers_counts() -> None:
    first, second = torch.from_numpy(attention(2, 1, 4))
    assert not torch.allclose(roll(roll(None, first), second), roll(roll(None, second), first))


def test_rows_sum_to_one_where_those_given_do_not() -> None:
    weights = torch.from_numpy(attention(1, 2, 5)[0]) * 0.9
    assert with_residual(weights).sum(dim=1).tolist() == pytest.approx([1.0] * 5)


def test_the_weights_are_left_as_they_were() -> None:
    weights = torch.from_numpy(attention(2, 2, 4))
    before = weights.clone()
    product = roll(None, weights[0])
    kept = product.clone()
    roll(product, weights[1])
    assert torch.equal(weights, before)
    assert torch.equal(product, kept)


def test_a_row_that_is_not_finite_stays_so_and_spares_the_others() -> None:
    weights = torch.from_numpy(attention(1, 2, 4)[0])
    weights[1, 2] = math.nan
    assert torch.isnan(with_residual(weights)).any(dim=1).tolist() == [False, False, True, False]
