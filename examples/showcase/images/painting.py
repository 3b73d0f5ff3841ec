"""Pictures of fractals, coarse at first and then finer. Put your model or your renderer here."""

import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

WIDTH, HEIGHT = 384, 256
# The sides of the squares that a picture is painted with, one pass for each.
SIDES = (16, 8, 4, 2, 1)
#: Seconds of work between two previews, and so the longest that a change has to wait.
SLICE = 0.15

#: The constant of each Julia set; the Mandelbrot set has none.
SHAPES = {
    "Mandelbrot": None,
    "Dragon": -0.8 + 0.156j,
    "Rabbit": -0.123 + 0.745j,
    "Snowflake": -0.3 + 0.63j,
}
#: The colours from far outside to the edge, which are blended.
COLOURS = {
    "Ocean": ["#041b2d", "#0b5a7a", "#4fc3c7", "#f4f1de", "#e07a5f"],
    "Fire": ["#14060a", "#7a1020", "#e2582a", "#ffcf56", "#fffbe6"],
    "Forest": ["#0b1f14", "#1f6b3a", "#9bc53d", "#f2e8a0", "#5c3a21"],
    "Silver": ["#111316", "#4a5058", "#aab2bb", "#f5f7f9", "#6b727a"],
}
_INSIDE = bytes(3)
_BLENDED = 256


@dataclass(frozen=True)
class Parameters:
    """What is painted: ``zoom`` is a power of two, ``detail`` a number of iterations."""

    shape: str = "Mandelbrot"
    x: float = -0.5
    y: float = 0.0
    zoom: float = 0.0
    colours: str = "Ocean"
    detail: int = 150


def paint(parameters: Parameters) -> Iterator[tuple[int, bytes]]:
    """Paint, and return now and then how far it is in percent, and what there is, as WebP.

    The last is the picture itself, with 100 percent. Between two of them the caller may lose
    interest. This takes processor time: run it in a thread.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    palette = blend(COLOURS[parameters.colours])
    total, painted = sum(WIDTH // side * (HEIGHT // side) for side in SIDES), 0
    begun = time.monotonic()
    for side in SIDES:
        for top in range(0, HEIGHT, side):
            row = b"".join(
                colour_at(parameters, palette, left + side / 2, top + side / 2)
                for left in range(0, WIDTH, side)
            )
            painted += WIDTH // side
            line = Image.frombytes("RGB", (WIDTH // side, 1), row)
            picture.paste(line.resize((WIDTH, side), Image.Resampling.NEAREST), (0, top))
            if time.monotonic() > begun + SLICE and painted < total:
                yield painted * 100 // total, encode(picture, quality=60)
                begun = time.monotonic()
    yield 100, encode(picture, quality=90)


def colour_at(parameters: Parameters, palette: list[bytes], left: float, top: float) -> bytes:
    """The colour of a point of the picture: how soon the iteration leaves it."""
    scale = 3 / HEIGHT / 2**parameters.zoom
    point = complex(
        parameters.x + (left - WIDTH / 2) * scale, parameters.y + (HEIGHT / 2 - top) * scale
    )
    constant = SHAPES[parameters.shape]
    z, c = (0j, point) if constant is None else (point, constant)
    for count in range(parameters.detail):
        if abs(z) > 8:
            smooth = count + 1 - math.log2(math.log2(abs(z)))
            return palette[int(math.sqrt(max(smooth, 0)) * 60) % _BLENDED]
        z = z * z + c
    return _INSIDE


def blend(colours: list[str]) -> list[bytes]:
    """A circle of colours that become each other."""
    stops = [bytes.fromhex(colour[1:]) for colour in colours]
    palette = []
    for step in range(_BLENDED):
        position = step * len(stops) / _BLENDED
        first, second = stops[int(position)], stops[(int(position) + 1) % len(stops)]
        part = position % 1
        palette.append(bytes(round(a + (b - a) * part) for a, b in zip(first, second, strict=True)))
    return palette


def encode(picture: Image.Image, quality: int) -> bytes:
    """The picture as WebP."""
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=2)
    return file.getvalue()
