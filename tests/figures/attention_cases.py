"""Attention for the tests of figures, made without a network."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image

from figures.figure_cases import layer
from reportgen.entities import Activation, Attention, InputImage, Layer, Reading, Run

CLASS, REGISTERS = Run(1, "class token"), Run(4, "register token")


def picture(id: str = "cat", width: int = 32, height: int = 24) -> InputImage:
    """An image whose gray is 40 at the left and 200 at the right."""
    seen = Image.new("RGB", (width, height), (40, 40, 40))
    seen.paste((200, 200, 200), (width // 2, 0, width, height))
    return InputImage(id, f"{id}.png", width, height, "0" * 64, "", seen, seen)


def grid(height: int, width: int) -> Run:
    return Run(height * width, grid=(height, width))


def weights(images: int, heads: int, queries: int, keys: int, seed: int = 0) -> torch.Tensor:
    logits = torch.randn(images, heads, queries, keys, generator=torch.Generator().manual_seed(seed)) * 2
    return logits.softmax(dim=-1)


def looking(values: torch.Tensor, size: tuple[int, int], extra: int, named: bool) -> Callable[[str], torch.Tensor]:
    """What a node's `look` does where `extra` tokens precede a grid of `size`; the first may be a class token."""
    height, width = size

    def look(query: str) -> torch.Tensor:
        if query == "class" and not named:
            raise ValueError("there is no class token")
        if query == "class":
            row = values[:, :, 0]
        elif query == "mean":
            row = values[:, :, extra:].mean(dim=2)
        else:
            y, x = map(int, query.split(","))
            if y >= height or x >= width:
                raise ValueError(f"there is no query {query} in {height} × {width}")
            row = values[:, :, extra + y * width + x]
        return row[:, :, extra:].reshape(*row.shape[:2], *size)

    return look


def attending(
    values: torch.Tensor,
    size: tuple[int, int],
    before: Sequence[Run] = (CLASS,),
    source: str = "computed by the model",
) -> Attention:
    """Self-attention over the tokens `before` and a grid."""
    runs = (*before, grid(*size))
    look = looking(values, size, sum(run.size for run in before), CLASS in before)
    return Attention(values, runs, runs, source, look)


def node(attention: Attention, name: str = "block.attn", images: int = 0, of: Layer | None = None) -> Activation:
    """The activation of a node with `attention`; one image a row of the weights unless told."""
    images = images or attention.weights.shape[0]
    shown = tuple(picture(f"image{number}") for number in range(images))
    where = of or layer(name, module_type="Softmax", detail="")
    return Activation(where, shown, attention.weights, Reading("", None, "weights"), attention)
