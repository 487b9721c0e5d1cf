"""Pictures of captions, from any image file to what a site stores. Pillow is loaded when there is one."""

from pathlib import Path

from reportgen.errors import InputError, UsageError
from reportgen.site.illustrations import Encoded

SIDE = 1600
"""The longest side that is stored, in pixels: twice what a page shows at most is sharp on every screen."""


def encode(path: Path, shown: str) -> Encoded:
    """Return the picture in the file `path` as a PNG: upright, over white, of its pixels alone.

    It is made smaller where a side has more than SIDE pixels. Raises UsageError, which calls it `shown`, when the
    file is no image that can be decoded, or has too many pixels.
    """
    from PIL import Image

    from reportgen.drawing.png import encode_picture
    from reportgen.inputs.pixels import MORE, read_pixels

    try:
        picture = read_pixels(path, shown)
    except InputError as error:
        raise UsageError(str(error).removesuffix(MORE)) from error
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=None)
    return Encoded(encode_picture(picture), *picture.size)
