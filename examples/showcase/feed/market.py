"""Where the data comes from: made-up prices. Put your sensors or your exchange in their place."""

import math
from random import Random

#: What is traded.
NAMES = ["Copper", "Silver", "Wheat", "Cocoa", "Coffee"]
FIRST_PRICE = 100.0
# How far a price moves in a step, and how much of its distance from the first price it loses.
VOLATILITY, PULL = 0.003, 0.002


class Market:
    """Prices that walk at random, in the same way for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.logarithms = [0.0] * len(NAMES)

    def step(self) -> list[float]:
        """Move all prices once, and return them."""
        self.logarithms = [
            logarithm * (1 - PULL) + self.random.gauss(0, VOLATILITY)
            for logarithm in self.logarithms
        ]
        return [round(FIRST_PRICE * math.exp(logarithm), 2) for logarithm in self.logarithms]
