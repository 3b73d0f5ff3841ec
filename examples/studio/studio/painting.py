"""Pictures that are painted in passes: strokes that follow a field of flow, broad ones first.

Put your model or your renderer here. What matters for the rest of the project: a painting is made
in many short passes, can be taken up again after any of them, and comes out the same whenever it is
painted from the same parameters.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 768, 512
#: The pixels between two points at which the flow is computed.
_CELL = 16
# The pixels from point to point of a stroke.
_STEP = 6
# The sides of a preview are this much shorter.
_SHRINK = 3


class Palette(NamedTuple):
    """Colours: of the ground, from top to bottom, and of the strokes, from early to late."""

    ground: tuple[str, str]
    strokes: tuple[str, ...]


PALETTES = {
    "Dawn": Palette(
        ("#241b3a", "#f2a07b"), ("#3d2a5c", "#a8476f", "#f0715e", "#ffc27a", "#fff1cf")
    ),
    "Lagoon": Palette(
        ("#06243a", "#0f6d80"), ("#0b3d5c", "#13859b", "#4fd0c5", "#c6f3df", "#fdfbe7")
    ),
    "Meadow": Palette(
        ("#1a3a26", "#c9c66b"), ("#1f4d2f", "#4f8f3c", "#a9c94f", "#f0dc7c", "#f4809a")
    ),
    "Ember": Palette(
        ("#120a12", "#4a1420"), ("#3b0f22", "#96202c", "#e2552d", "#ffb545", "#fff3c4")
    ),
    "Paper": Palette(
        ("#f6f0e2", "#e9dec6"), ("#c9b891", "#7d8a86", "#35566b", "#162b3d", "#c8452f")
    ),
}


@dataclass(frozen=True)
class Parameters:
    """What a customer orders.

    Attributes:
        palette: one of :data:`PALETTES`.
        flow: one of :data:`FLOWS`.
        density: strokes in one pass.
        detail: the number of passes.
        seed: of all that is random. The same seed paints the same picture.
    """

    palette: str = "Dawn"
    flow: str = "Waves"
    density: int = 40
    detail: int = 120
    seed: int = 1


class Painting:
    """A picture under way.

    Args:
        parameters: what to paint.
        canvas: what :meth:`save` returned after some passes; empty to begin with a new canvas.
        passes: how many passes these were.
    """

    def __init__(self, parameters: Parameters, canvas: bytes = b"", passes: int = 0) -> None:
        self.parameters = parameters
        self.passes = passes if canvas else 0
        self._palette = PALETTES[parameters.palette]
        self._field = _field(FLOWS[parameters.flow](Random(f"field {parameters.seed}")))
        if canvas:
            self._image = Image.open(io.BytesIO(canvas)).convert("RGB")
        else:
            self._image = _ground(*self._palette.ground)

    @property
    def is_finished(self) -> bool:
        """Whether all passes are made."""
        return self.passes >= self.parameters.detail

    def paint_pass(self) -> None:
        """Make the next pass, in some hundredths of a second."""
        # Nothing is carried from pass to pass but the canvas.
        random = Random(f"pass {self.parameters.seed} {self.passes}")
        share = self.passes / self.parameters.detail
        draw = ImageDraw.Draw(self._image, "RGBA")
        width = max(1, round(15 * (1 - share) ** 2))
        steps, opacity = 10 + int(30 * share), 40 + int(150 * share)
        for _ in range(self.parameters.density):
            # Some begin outside, so that the edges get their share.
            x, y = random.uniform(-80, WIDTH + 20), random.uniform(-40, HEIGHT + 40)
            points = self._follow(x, y, steps)
            colour = self._colour(random, share, light=(points[1][1] - y) / _STEP)
            draw.line(points, fill=(*colour, opacity), width=width, joint="curve")
        self.passes += 1

    def save(self) -> bytes:
        """The canvas as it is, without loss: who paints on from here paints the same picture."""
        return _encode(self._image, "PNG", compress_level=1)

    def preview(self) -> bytes:
        """The canvas as it is, small, as WebP of some kilobytes."""
        return _encode(self._image.reduce(_SHRINK), "WEBP", quality=50, method=0)

    def picture(self) -> bytes:
        """The canvas as it is, as WebP."""
        return _encode(self._image, "WEBP", quality=88)

    def _colour(self, random: Random, share: float, light: float) -> tuple[int, int, int]:
        """A colour from those that come at this time; as if light fell on it from above."""
        strokes = self._palette.strokes
        place = share * (len(strokes) - 1) + light + random.gauss(0, 0.5)
        number, part = divmod(min(max(place, 0), len(strokes) - 1.001), 1)
        first, second = _rgb(strokes[int(number)]), _rgb(strokes[int(number) + 1])
        red, green, blue = (int(a + (b - a) * part) for a, b in zip(first, second, strict=True))
        return red, green, blue

    def _follow(self, x: float, y: float, steps: int) -> list[tuple[float, float]]:
        """The way of a stroke from here."""
        points = [(x, y)]
        for _ in range(steps):
            column = min(max(int(x) // _CELL, 0), WIDTH // _CELL - 1)
            row = min(max(int(y) // _CELL, 0), HEIGHT // _CELL - 1)
            dx, dy = self._field[row][column]
            x, y = x + dx, y + dy
            points.append((x, y))
        return points


# A field of flow says for a place, with coordinates from 0 to 1, in which direction it goes there.
Flow = Callable[[float, float], float]


def _waves(random: Random) -> Flow:
    """Long swells across the picture."""
    waves = [
        (random.uniform(2, 7), random.uniform(2, 7), random.uniform(0, math.tau)) for _ in range(4)
    ]
    lean = random.uniform(-0.5, 0.5)
    return lambda x, y: lean + 0.55 * sum(math.sin(a * x + b * y + c) for a, b, c in waves)


def _whirls(random: Random) -> Flow:
    """Water around some stones."""
    whirls = [
        (random.uniform(0.1, 0.9), random.uniform(0.1, 0.9), random.choice((-1, 1)))
        for _ in range(5)
    ]

    def flow(x: float, y: float) -> float:
        east, south = 0.25, 0.0
        for left, top, sense in whirls:
            dx, dy = (x - left) * WIDTH / HEIGHT, y - top
            weight = sense / (0.02 + dx * dx + dy * dy)
            east, south = east - dy * weight, south + dx * weight
        return math.atan2(south, east)

    return flow


def _petals(random: Random) -> Flow:
    """A flower that opens."""
    left, top = random.uniform(0.35, 0.65), random.uniform(0.35, 0.65)
    petals, twist = random.randint(5, 9), random.uniform(0.6, 1.2)

    def flow(x: float, y: float) -> float:
        dx, dy = (x - left) * WIDTH / HEIGHT, y - top
        angle = math.atan2(dy, dx)
        return angle + twist * math.sin(petals * angle + 9 * math.hypot(dx, dy))

    return flow


def _hills(random: Random) -> Flow:
    """Layers of a landscape."""
    hills = [(random.uniform(4, 12), random.uniform(0, math.tau)) for _ in range(3)]

    def flow(x: float, y: float) -> float:
        slope = sum(math.sin(a * x + c + 5 * y) * math.cos(3 * y + c) for a, c in hills)
        return 0.6 * slope * (0.35 + y)

    return flow


FLOWS = {"Waves": _waves, "Whirls": _whirls, "Petals": _petals, "Hills": _hills}


def _field(flow: Flow) -> list[list[tuple[float, float]]]:
    """The steps of a stroke, for each cell of the canvas."""
    rows, columns = HEIGHT // _CELL, WIDTH // _CELL
    angles = [
        [flow((column + 0.5) / columns, (row + 0.5) / rows) for column in range(columns)]
        for row in range(rows)
    ]
    return [[(_STEP * math.cos(angle), _STEP * math.sin(angle)) for angle in row] for row in angles]


def _ground(top: str, bottom: str) -> Image.Image:
    """A canvas without strokes."""
    shade = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    return Image.composite(
        Image.new("RGB", (WIDTH, HEIGHT), bottom), Image.new("RGB", (WIDTH, HEIGHT), top), shade
    )


def _rgb(colour: str) -> bytes:
    return bytes.fromhex(colour[1:])


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
