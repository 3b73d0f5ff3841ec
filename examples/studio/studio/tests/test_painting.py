"""Pictures and their parameters."""

import io
from dataclasses import asdict, replace

from django.test import SimpleTestCase
from PIL import Image

from studio.forms import ParametersForm
from studio.painting import FLOWS, HEIGHT, PALETTES, WIDTH, Painting, Parameters

SMALL = Parameters(density=10, detail=40)


def paint(painting: Painting, passes: int) -> Painting:
    for _ in range(passes):
        painting.paint_pass()
    return painting


class PaintingTests(SimpleTestCase):
    def test_a_painting_that_is_taken_up_again_comes_out_the_same(self) -> None:
        whole = paint(Painting(SMALL), 40)
        first = paint(Painting(SMALL), 17)
        second = paint(Painting(SMALL, first.save(), first.passes), 23)
        self.assertTrue(whole.is_finished)
        self.assertTrue(second.is_finished)
        self.assertEqual(second.save(), whole.save())
        self.assertEqual(second.picture(), whole.picture())

    def test_passes_without_a_canvas_are_none(self) -> None:
        self.assertEqual(Painting(SMALL, b"", 17).passes, 0)

    def test_each_parameter_makes_another_picture(self) -> None:
        others = [
            *({"palette": name} for name in PALETTES if name != SMALL.palette),
            *({"flow": name} for name in FLOWS if name != SMALL.flow),
            {"density": 20},
            {"detail": 50},
            {"seed": 2},
        ]
        canvases = {paint(Painting(replace(SMALL, **other)), 2).save() for other in [{}, *others]}
        self.assertEqual(len(canvases), len(others) + 1)

    def test_previews_are_small(self) -> None:
        painting = paint(Painting(SMALL), 40)
        for data, width in (painting.preview(), WIDTH // 3), (painting.picture(), WIDTH):
            image = Image.open(io.BytesIO(data))
            self.assertEqual((image.format, image.width), ("WEBP", width))
        self.assertEqual(image.height, HEIGHT)
        self.assertLess(len(painting.preview()), 40_000)  # As text, progress takes up to 64 KiB.


class ParametersFormTests(SimpleTestCase):
    def test_it_knows_the_bounds(self) -> None:
        self.assertEqual(ParametersForm(asdict(SMALL)).errors, {})
        bad = {
            "palette": ["Mud", "", None],
            "flow": ["Uphill", 1],
            "density": [9, 81, 20.5, "many"],
            "detail": [19, 241, None],
            "seed": [0, 10**30, "", "x"],
        }
        for name, values in bad.items():
            for value in values:
                with self.subTest(name=name, value=value):
                    form = ParametersForm({**asdict(SMALL), name: value})
                    self.assertEqual(list(form.errors), [name])
                    self.assertIn(f"{name.capitalize()}: ", form.problem)
