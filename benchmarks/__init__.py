"""What the worker's speed is: `python -m benchmarks` (`./dev bench`); each figure is a ratio within one run."""

NOOP_QUEUE = "noop"
