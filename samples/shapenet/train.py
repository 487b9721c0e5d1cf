"""Train ShapeNet on pictures drawn as they are needed and save four epochs of it.

`python samples/shapenet/train.py` writes `weights.safetensors` and `epochs/` beside this file.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name every PyTorch program uses

import draw
import network

EPOCHS = 9
SAVED_EPOCHS = (0, 1, 4, EPOCHS)
PICTURES_PER_EPOCH = 4096
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.02
THREADS = 2
# Each epoch's pictures have the seed (TRAINING_SEED, epoch); the other two draw pictures training never sees.
TRAINING_SEED, VALIDATION_SEED, TEST_SEED = 1, 2, 3


def main() -> None:
    """Train, save, and print the accuracy on pictures kept for the very end."""
    folder = _parse_arguments()
    started = time.perf_counter()
    model = train(folder)
    seconds = time.perf_counter() - started
    save_file(model.state_dict(), folder / "weights.safetensors")
    accuracy = measure_accuracy(model, *draw_tensors(2000, TEST_SEED))
    _print(f"Accuracy on 2,000 fresh pictures: {100 * accuracy:.1f} % (trained in {seconds:.0f} s)")


def train(folder: Path) -> nn.Module:
    """Return the trained network, in eval mode, and write `SAVED_EPOCHS` to `folder/epochs`."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(TRAINING_SEED)
    model = network.shapenet()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * (PICTURES_PER_EPOCH // BATCH_SIZE)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    validation = draw_tensors(1000, VALIDATION_SEED)
    for epoch in range(EPOCHS + 1):
        if epoch:
            train_epoch(model, optimizer, scheduler, *draw_tensors(PICTURES_PER_EPOCH, TRAINING_SEED, epoch))
        _print(f"epoch {epoch:2}: accuracy {100 * measure_accuracy(model, *validation):.1f} %")
        _save_epoch(model, epoch, folder / "epochs")
    return model


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    pictures: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    """Take one optimizer step for each batch of the pictures, which are in random order already."""
    model.train()
    for start in range(0, len(labels), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(pictures[batch]), labels[batch]))
        optimizer.step()
        scheduler.step()


@torch.inference_mode()
def measure_accuracy(model: nn.Module, pictures: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of the pictures, 0..1, that the network in eval mode names right."""
    model.eval()
    predictions = model(pictures).argmax(dim=1)
    return float((predictions == labels).double().mean())


def draw_tensors(count: int, *seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `count` normalised pictures, float32 (N, 3, 64, 64), and their labels, int64 (N,)."""
    pictures, labels = draw.draw_many(count, np.random.default_rng(seed), network.SIZE)
    return normalise(pictures), torch.from_numpy(labels)


def normalise(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Return pictures (N, H, W, 3) as the network takes them: float32 (N, 3, H, W), normalised."""
    scaled = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(network.MEAN), torch.tensor(network.STD)
    return (scaled - mean[:, None, None]) / std[:, None, None]


def _save_epoch(model: nn.Module, epoch: int, folder: Path) -> None:
    if epoch in SAVED_EPOCHS:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), folder / f"epoch_{epoch:02}.safetensors")


def _parse_arguments() -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="where to write")
    folder: Path = parser.parse_args().out
    return folder


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a script's progress is its output


if __name__ == "__main__":
    main()
