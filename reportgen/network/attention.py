"""Softmax attention: the weights as the model computed them, or computed again where an operation hides them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from reportgen.entities import Attention
from reportgen.network.axes import Atom, Axes, Axis, axis, grid_axis, is_position, kinds_of, runs_of, size_of
from reportgen.network.layout import fold
from reportgen.network.operations import Call, Operand

COMPUTED = "computed by the model"
AGAIN = "computed again from q and k, since the fused operation never forms them"


def attention_of(
    call: Call, args: Sequence[Any], kwargs: Mapping[str, Any], value: Any, axes: Any
) -> Attention | None:
    """Return what a node weighed, when it is softmax attention over positions; None for every other node.

    `args` and `kwargs` are the values behind the operands of `call`, `axes` those of `value`.
    """
    if isinstance(call.operation, nn.MultiheadAttention):
        return _of_module(call, call.operation, args, kwargs)
    if isinstance(call.operation, nn.TransformerEncoderLayer):
        return _of_encoder_layer(call, call.operation, args)
    if call.operation == "scaled_dot_product_attention":
        return _of_fused(call, args, kwargs)
    softmax = call.operation == "softmax" or isinstance(call.operation, nn.Softmax)
    if softmax and isinstance(value, torch.Tensor) and axes is not None:
        return _from(value, axes, call.images, COMPUTED)
    return None


def _from(weights: torch.Tensor, axes: Axes, images: int, source: str) -> Attention | None:
    """Read (..., queries, keys) by its axes: everything before is images, windows and heads."""
    if len(axes) < 2 or kinds_of(axes[-1]) != {"K"} or not _are_queries(axes[-2]):
        return None
    keys = axes[-1][0].of
    lead = [atom for one in axes[:-2] for atom in one]
    places = [number for number, atom in enumerate(lead) if atom.kind == "C"]
    others = [number for number in range(len(lead)) if number not in places]
    plain = weights.reshape([atom.size for atom in lead] + list(weights.shape[-2:]))
    plain = plain.permute([*others, *places, len(lead), len(lead) + 1])
    heads = math.prod(lead[number].size for number in places)
    outer = tuple(lead[number] for number in others)
    if {atom.kind for atom in outer} - set("NDHW"):
        return None
    flat = plain.reshape(-1, heads, *weights.shape[-2:])
    windowed = any(atom.kind != "N" for atom in outer)
    look = _Look(flat, outer, axes[-2], keys, images)
    return Attention(flat, runs_of(axes[-2]), runs_of(keys), source, look, windowed)


def _are_queries(one: Axis) -> bool:
    return is_position(one) or not one


class _Look:
    """Maps of the weights that one query, or the mean over all, gives to the keys."""

    def __init__(
        self, weights: torch.Tensor, outer: tuple[Atom, ...], queries: Axis, keys: Axis, images: int
    ) -> None:
        self._weights, self._outer, self._images = weights, outer, images
        self._queries, self._keys = queries, keys

    def __call__(self, query: str) -> torch.Tensor:
        """Return (N, heads, H, W); ValueError, with the reason, when there is no such query or no grid of keys."""
        chosen = self._class() if query == "class" else self._mean() if query == "mean" else self._at(query)
        keys, chosen = self._grid_of_keys(chosen)
        outer = self._outer or (Atom("N", chosen.shape[0]),)
        maps = fold(chosen, (outer, axis("C", chosen.shape[1]), keys), self._images)
        if maps is None:
            raise ValueError("its windows don't fit together to whole maps")
        return maps

    def _class(self) -> torch.Tensor:
        start = 0
        for run in runs_of(self._queries):
            if run.label == "class token":
                return self._weights[:, :, start]
            start += run.size
        raise ValueError("there is no class token among the queries")

    def _mean(self) -> torch.Tensor:
        start = 0
        for run in runs_of(self._queries):
            if run.grid:
                return self._weights.narrow(2, start, run.size).mean(2)
            start += run.size
        return self._weights.mean(2)

    def _at(self, query: str) -> torch.Tensor:
        grid = next((run.grid for run in runs_of(self._queries) if run.grid), ())
        row, column = (int(part) for part in query.split(","))
        if any(atom.kind != "N" for atom in self._outer):
            raise ValueError("within windows, one query looks at its own window only; take the mean")
        if len(grid) != 2 or not (0 <= row < grid[0] and 0 <= column < grid[1]):
            size = " × ".join(map(str, grid)) or "no"
            raise ValueError(f"there is no query {row},{column}: the queries are a grid of {size}")
        start = 0
        for run in runs_of(self._queries):
            if run.grid:
                break
            start += run.size
        return self._weights[:, :, start + row * grid[1] + column]

    def _grid_of_keys(self, chosen: torch.Tensor) -> tuple[Axis, torch.Tensor]:
        if kinds_of(self._keys) <= set("DHW"):
            return self._keys, chosen
        start = 0
        for run in runs_of(self._keys):
            if run.grid:
                return grid_axis(run.grid), chosen.narrow(-1, start, run.size)
            start += run.size
        raise ValueError("the keys have no grid of positions")


def _of_fused(call: Call, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Attention | None:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    query, key = given["query"], given["key"]
    operands = call.operands
    if operands[0].axes is None or operands[1].axes is None:
        return None
    axes = _weight_axes(operands[0], operands[1])
    if axes is None:
        return None
    weights = fused_weights(
        query, key, given.get("attn_mask"), causal=bool(given.get("is_causal")), scale=given.get("scale")
    )
    return _from(weights, axes, call.images, AGAIN)


def _weight_axes(query: Operand, key: Operand) -> Axes | None:
    rows, columns = query.known[-2], key.known[-2]
    if not is_position(columns):
        return None
    return (*query.known[:-2], rows, (Atom("K", size_of(columns), of=columns),))


def fused_weights(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """Return softmax(scale q kᵀ + mask), (..., queries, keys), as `scaled_dot_product_attention` defines it.

    `query` is (..., queries, D), `key` (..., keys, D), with fewer heads than `query` repeated. A boolean mask is
    True where a key takes part; `scale` is 1/√D unless given. Computed in float32 at least.
    """
    kind = torch.promote_types(query.dtype, torch.float32)
    if key.dim() > 2 and key.shape[-3] != query.shape[-3]:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    factor = scale if scale is not None else query.shape[-1] ** -0.5
    scores = (query.to(kind) * factor) @ key.to(kind).transpose(-2, -1)
    if causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


def _of_module(
    call: Call, module: nn.MultiheadAttention, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Attention | None:
    names = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    operands = dict(zip(names, call.args, strict=False)) | dict(call.kwargs)
    plain = module.bias_k is None and not module.add_zero_attn and given.get("key_padding_mask") is None
    if not plain or given["query"].dim() != 3:
        return None
    weights = module_weights(module, given["query"], given["key"], given.get("attn_mask"))
    rows, columns = (_sequence(operands[name], batch_first=module.batch_first) for name in ("query", "key"))
    if rows is None or columns is None or not is_position(columns):
        return None
    front: Axis = (Atom("N", weights.shape[0]),)
    axes = (front, axis("C", module.num_heads), rows, (Atom("K", size_of(columns), of=columns),))
    return _from(weights, axes, call.images, AGAIN)


def _of_encoder_layer(call: Call, module: nn.TransformerEncoderLayer, args: Sequence[Any]) -> Attention | None:
    source = module.norm1(args[0]) if module.norm_first else args[0]
    operand = call.first
    inner = Call(module.self_attn, (operand, operand, operand), {}, (), call.images)
    return _of_module(inner, module.self_attn, (source, source, source), {}) if len(args) == 1 else None


def _sequence(operand: Any, *, batch_first: bool) -> Axis | None:
    known = isinstance(operand, Operand) and operand.axes is not None
    return operand.known[1 if batch_first else 0] if known else None


@torch.no_grad()
def module_weights(
    module: nn.MultiheadAttention, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the weights of each head of a MultiheadAttention, (N, heads, queries, keys), which it never returns.

    `query` and `key` are (N, tokens, E) or, unless `batch_first`, (tokens, N, E).
    """
    if not module.batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    size = module.embed_dim
    if module.in_proj_weight is not None:
        weight_q, weight_k = module.in_proj_weight[:size], module.in_proj_weight[size : 2 * size]
    else:
        weight_q, weight_k = module.q_proj_weight, module.k_proj_weight
    bias = module.in_proj_bias
    bias_q, bias_k = (bias[:size], bias[size : 2 * size]) if bias is not None else (None, None)
    q = _heads(functional.linear(query, weight_q, bias_q), module.num_heads)
    k = _heads(functional.linear(key, weight_k, bias_k), module.num_heads)
    if mask is not None:  # here a boolean mask is True where a key takes no part
        mask = ~mask if mask.dtype == torch.bool else mask
        mask = mask.reshape(-1, module.num_heads, *mask.shape[-2:]) if mask.dim() == 3 else mask
    return fused_weights(q, k, mask)


def _heads(value: torch.Tensor, heads: int) -> torch.Tensor:
    return value.reshape(*value.shape[:-1], heads, value.shape[-1] // heads).transpose(1, 2)
