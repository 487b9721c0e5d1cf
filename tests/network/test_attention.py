"""Attention weights against what the blocks themselves return, and where queries look against sums by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from reportgen.entities import Activation, Attention, Batch
from reportgen.network.attention import fused_weights, module_weights
from reportgen.network.base import Settings
from reportgen.network.tracing import trace_model


def attentions(model: nn.Module, image: torch.Tensor, tracer: str) -> dict[str, Attention]:
    batch = Batch((), image)
    network = trace_model(model.eval(), batch, tracer=tracer, settings=Settings(attention=True))
    found = {}
    for event in network.walk(batch):
        assert isinstance(event, Activation)
        if event.attention is not None:
            found[event.layer.name] = event.attention
    return found


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, "boolean", "added"])
def test_fused_weights_reproduce_the_output(causal: bool, mask: str | None) -> None:
    if causal and mask:
        return  # torch takes one or the other
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    masks = {"boolean": torch.rand(5, 5) > 0.3, "added": torch.randn(5, 5)}
    given = masks.get(mask or "")
    if given is not None and given.dtype == torch.bool:
        given |= torch.eye(5, dtype=torch.bool)
    expected = functional.scaled_dot_product_attention(query, key, value, given, is_causal=causal, scale=0.7)
    weights = fused_weights(query, key, given, causal=causal, scale=0.7)
    torch.testing.assert_close(weights @ value, expected)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("sizes", [{}, {"kdim": 6, "vdim": 7}])
def test_the_weights_of_a_module_are_those_it_would_return(batch_first: bool, sizes: dict[str, int]) -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, batch_first=batch_first, **sizes).eval()
    query, key = torch.randn(3, 5, 8), torch.randn(3, 4, sizes.get("kdim", 8))
    value = torch.randn(3, 4, sizes.get("vdim", 8))
    if not batch_first:
        query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
    with torch.no_grad():
        _, expected = module(query, key, value, average_attn_weights=False)
    torch.testing.assert_close(module_weights(module, query, key), expected)


class Block(nn.Module):
    """Tokens with a class token, attended to by a module, by the fused function, and by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, 4))
        self.module = nn.MultiheadAttention(4, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], 1)
        out: torch.Tensor = self.module(tokens, tokens, tokens)[0]
        heads = out.reshape(x.shape[0], 7, 2, 2).transpose(1, 2)
        fused = functional.scaled_dot_product_attention(heads, heads, heads)
        weights = (fused @ fused.transpose(-2, -1)).softmax(-1)
        last: torch.Tensor = self.layer((weights @ fused).transpose(1, 2).flatten(2))
        return last


@pytest.mark.parametrize("tracer", ["fx", "eager"])
def test_every_form_is_seen_once(tracer: str) -> None:
    torch.manual_seed(0)
    model, image = Block(), torch.randn(2, 4, 2, 3)
    found = attentions(model, image, tracer)
    assert list(found) == ["module", "scaled_dot_product_attention", "softmax", "layer"]
    for name, attention in found.items():
        assert attention.weights.shape == (2, 2, 7, 7)
        assert [(run.label, run.size, run.grid) for run in attention.queries] == [
            ("class token", 1, ()), ("", 6, (2, 3))
        ]  # fmt: skip
        assert attention.keys == attention.queries
        assert not attention.windowed
        assert attention.source.startswith("computed by the model" if name == "softmax" else "computed again")
        look = attention.look("class")
        assert torch.equal(look, attention.weights[:, :, 0, 1:].reshape(2, 2, 2, 3))
        torch.testing.assert_close(
            attention.look("mean"), attention.weights[:, :, 1:, 1:].mean(2).reshape(2, 2, 2, 3)
        )
        assert torch.equal(attention.look("1,2"), attention.weights[:, :, 6, 1:].reshape(2, 2, 2, 3))
        with pytest.raises(ValueError, match="there is no query 2,0: the queries are a grid of 2 × 3"):
            attention.look("2,0")


class Windows(nn.Module):
    """Attention within windows of 2 × 2, as Swin has it, without projections."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = x.shape
        windows = x.permute(0, 2, 3, 1).reshape(count, height // 2, 2, width // 2, 2, channels)
        tokens = windows.permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, channels)
        return (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens


def test_windows_look_each_at_itself() -> None:
    image = torch.randn(2, 3, 4, 6)
    (attention,) = attentions(Windows(), image, "fx").values()
    assert attention.windowed
    assert attention.weights.shape == (12, 1, 4, 4)
    look = attention.look("mean")
    assert look.shape == (2, 1, 4, 6)
    corner = image[1, :, 2:4, 4:6].flatten(1).T  # the last window of the second image: its 4 tokens
    expected = (corner @ corner.T).softmax(-1).mean(0).reshape(2, 2)
    torch.testing.assert_close(look[1, 0, 2:4, 4:6], expected)
    with pytest.raises(ValueError, match="within windows"):
        attention.look("0,0")
    with pytest.raises(ValueError, match="no class token"):
        attention.look("class")


def test_attention_is_left_alone_when_nobody_wants_it() -> None:
    batch = Batch((), torch.randn(1, 4, 2, 3))
    for event in trace_model(Block().eval(), batch).walk(batch):
        assert isinstance(event, Activation)
        assert event.attention is None
