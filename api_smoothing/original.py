"""What an image was as it was given, and how far its way to three 8-bit channels can stretch a distance.

A certificate about the three channels that enter the noise is one about the image as given only as far as the way D
from there is Lipschitz: ‖D(x′) − D(x)‖ ≤ norm·‖x′ − x‖ for this x and every x′ of the same kind and size.

grey       D copies one value three times: √3 in ℓ2, 3 in ℓ1.
alpha      D lays colour r and alpha a on white, 1 − a(1 − r), and rounds that to 8 bits. For whole x′ − x, in steps of
           1/255: at the same a a channel moves by at most |Δr|, as a ≤ 1, and at the same r by at most |Δa|, as
           1 − r ≤ 1; the rounding of neither can add to a whole number. So ‖ΔD‖₂ ≤ ‖Δr‖₂ + √3·|Δa| ≤ 2·‖(Δr, Δa)‖₂,
           where r = 0 and a = 1 need all of it, and ‖ΔD‖₁ ≤ ‖Δr‖₁ + 3·|Δa|. Grey with alpha is copied besides: √3·√2
           and 3.
the rest   A palette or a transparent colour turns one step into any other colour, and values of more than 8 bits may be
           next to one another and a whole step apart once they are rounded: no bound, hence no radius.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The kind of an image as it was given; `norm` and `norm_l1` bound the way from there, and are inf without a bound.

    `unbounded` then says why, in words that follow "no radius for the image as given:".
    """

    name: str
    norm: float = 1.0
    norm_l1: float = 1.0
    unbounded: str | None = None


RGB: Final = Original(name="RGB")
GREY: Final = Original(name="grey", norm=math.sqrt(3.0), norm_l1=3.0)
RGBA: Final = Original(name="RGBA", norm=2.0, norm_l1=3.0)
GREY_ALPHA: Final = Original(name="grey with alpha", norm=math.sqrt(6.0), norm_l1=3.0)


def _without(name: str, why: str) -> Original:
    return Original(name=name, norm=math.inf, norm_l1=math.inf, unbounded=why)


PALETTE: Final = _without("palette", "a step in its palette may be any other colour")
COLOUR_KEY: Final = _without(
    "transparent colour", "a step may turn a pixel into its transparent colour, which is laid on white"
)
REDUCED: Final = _without(
    "other depth", "its values are of another depth or form, and rounding them has no bound"
)

_OF_MODE: Final = {"1": GREY, "L": GREY, "LA": GREY_ALPHA, "RGBA": RGBA, "P": PALETTE, "PA": PALETTE}

#: Pillow's names of how pixels lie in a file, of those that come to 8 bits a channel exactly: "L", "BGRX", "L;4I", …
_EXACT: Final = re.compile(r"(1|L|LX|LA|P|PX|PA|[RGBAX]{3,7})(;([1248]|[124]?I?R?|L|A))?")
_SIXTEEN: Final = re.compile(r"I;16[A-Z]*|I")  # kept as they are


def of_picture(image: Image.Image) -> Original:
    """What a Pillow image in memory is: its values are what was given, whatever file they came from."""
    if "transparency" in image.info and image.mode not in ("P", "PA"):
        return COLOUR_KEY
    if image.mode.startswith("I"):
        return GREY
    return _OF_MODE.get(image.mode, RGB)


def of_file(image: Image.Image) -> Original:
    """What the file of an image just opened is, before its pixels are read."""
    kind = of_picture(image)
    return kind if all(map(_is_exact, getattr(image, "tile", ()))) else REDUCED


def _is_exact(tile: Any) -> bool:
    decoder, arguments = tile[0], tile[3]
    layout = arguments if isinstance(arguments, str) else next(iter(arguments or ()), None)
    if decoder in ("ppm", "ppm_plain") and not isinstance(arguments, str):
        return arguments[-1] in (255, 65535 if layout == "L" else 255)  # the largest value of the file
    return not isinstance(layout, str) or bool(_EXACT.fullmatch(layout) or _SIXTEEN.fullmatch(layout))
