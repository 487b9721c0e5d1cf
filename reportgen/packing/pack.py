"""The driver of `reportgen pack`: read the site, measure, make it smaller where it must be, write."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reportgen.packing.sizes import megabytes
from reportgen.site.pack import Packing, check_out, form_of, plan, write
from reportgen.site.source import open_site


@dataclass(frozen=True)
class Packed:
    """A file that was written: its size in bytes, and what was reduced to make it fit, a sentence each."""

    path: Path
    bytes: int
    estimated: int
    reductions: tuple[str, ...]

    @property
    def address(self) -> str:
        return self.path.absolute().as_uri()


def pack_site(
    site: Path,
    out: Path,
    *,
    max_size: int | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Packed:
    """Write the site as the file `out`, of at most `max_size` bytes; `say` is told the estimate before the work.

    Raises UsageError when it can't be made as small as that, InputError when the site is not whole, OutputError.
    """
    form_of(out)
    check_out(out, site, force=force)
    source = open_site(site)
    packing = plan(source, out)
    reductions: tuple[str, ...] = ()
    if max_size is not None and packing.size > max_size:
        # Pillow and NumPy are loaded only where pictures have to be made smaller.
        from reportgen.packing.fitting import fit

        say(f"as it is: {describe(packing)}; at most {megabytes(max_size)} MB were asked for")
        packing, reductions = fit(source, out, max_size, packing.size)
    for sentence in reductions:
        say(f"reduced: {sentence}")
    say(describe(packing))
    return Packed(out, write(packing, out, site, force=force), packing.size, reductions)


def describe(packing: Packing) -> str:
    """Return the estimate for people: `about 23.1 MB (pages 2.0, pictures 21.1)`."""
    parts = ", ".join(f"{name} {megabytes(size)}" for name, size in packing.parts.items() if size)
    return f"about {megabytes(packing.size)} MB ({parts})"
