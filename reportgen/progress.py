"""Progress on stderr, when somebody is there to see it."""

import sys
from typing import NoReturn

from tqdm import tqdm


class Progress:
    """A bar over images and nodes; silent when `quiet` or when stderr is no terminal."""

    def __init__(self, images: int, layers: int, *, quiet: bool = False) -> None:
        self._bar: tqdm[NoReturn] | None = None
        if quiet or not sys.stderr.isatty():
            return  # without the thread and the locks that even a silent bar comes with
        self._bar = tqdm(
            total=images * layers,
            unit="node",
            file=sys.stderr,
            leave=False,
            desc=f"{images} images" if images != 1 else "1 image",
        )

    def step(self, layer: str, images: int) -> None:
        """Count `layer` as done for `images` images."""
        if self._bar is not None:
            self._bar.set_postfix_str(layer[-40:], refresh=False)
            self._bar.update(images)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
