"""The rules of the game."""

import json
import math
from unittest import TestCase

from game.arena import (
    EDGE,
    MOST_PLAYERS,
    PATIENCE,
    PATIENCE_AT_FIRST,
    RATE,
    SIZE,
    SPEED,
    STARS,
    Arena,
)


class ArenaTests(TestCase):
    def setUp(self) -> None:
        self.arena = Arena()
        self.arena.hear("1", "alice")
        self.alice = self.arena.players["1"]
        self.alice.x = self.alice.y = SIZE / 2
        self.arena.stars = []

    def fly(self, *direction: float, steps: int = 1) -> float:
        """Fly in a direction, and return how far it was."""
        start = self.alice.x, self.alice.y
        self.arena.hear("1", "alice", direction)
        for _ in range(steps):
            self.arena.step()
        return math.dist(start, (self.alice.x, self.alice.y))

    def test_a_ship_has_one_speed_in_all_directions(self) -> None:
        for direction in ((1, 0), (0, -1), (1, 1), (-1, 1), (500, 0), (0.8, -0.6)):
            with self.subTest(direction=direction):
                self.assertAlmostEqual(self.fly(*direction), SPEED / RATE)
        self.assertAlmostEqual(self.fly(0.5, 0), SPEED / RATE / 2)
        self.assertEqual(self.fly(0, 0), 0)

    def test_it_flies_on_until_it_is_told_otherwise_and_not_out_of_the_arena(self) -> None:
        self.fly(1, 0, steps=3)
        self.arena.hear("1", "alice")
        self.arena.step()
        self.assertAlmostEqual(self.alice.x, SIZE / 2 + 4 * SPEED / RATE)
        self.fly(1, 1, steps=RATE * SIZE // SPEED)
        self.assertEqual((self.alice.x, self.alice.y), (SIZE - EDGE, SIZE - EDGE))

    def test_stars_bring_points_and_appear_elsewhere(self) -> None:
        self.arena.stars = [[SIZE / 2 + 20, SIZE / 2]]
        self.fly(1, 0)
        self.assertEqual(self.alice.points, 1)
        self.assertNotEqual(self.arena.stars[0], [SIZE / 2 + 20, SIZE / 2])
        self.assertEqual(len(Arena().stars), STARS)

    def test_players_who_vanish_are_removed(self) -> None:
        for _ in range(PATIENCE):
            self.arena.step()
        self.arena.hear("1", "alice")
        for _ in range(PATIENCE):
            self.arena.step()
        self.assertIn("1", self.arena.players)
        self.arena.step()
        self.assertEqual(self.arena.players, {})
        self.arena.leave("1")

    def test_there_is_not_room_for_everybody(self) -> None:
        for number in range(MOST_PLAYERS + 5):
            self.arena.hear(f"player {number}", "bob")
        self.assertEqual(len(self.arena.players), MOST_PLAYERS)
        self.arena.leave("player 3")
        self.arena.hear("late", "carol")
        self.assertIn("late", self.arena.players)

    def test_it_goes_on_where_it_was_saved(self) -> None:
        self.fly(0.5, 0.5)
        self.alice.points = 7
        arena = Arena.from_dict(json.loads(json.dumps(self.arena.as_dict())))
        self.assertEqual(arena.players["1"].patience, PATIENCE_AT_FIRST)
        self.assertEqual(arena.as_event()["players"], self.arena.as_event()["players"])
        self.assertEqual(arena.steps, self.arena.steps)
