"""Compare this checkout with its peers: the same work, side by side, in one run.

``python -m benchmarks`` needs nothing but Python: it makes an environment per contender itself.
How to read what it prints: ``docs/benchmarks.md``.
"""
