"""DVC stages: each module reads parameters, calls geograph, and writes outputs and metrics."""

import gc

#: How often the garbage collector works; `pipelines.stage.main` goes back to it.
USUAL_THRESHOLD = gc.get_threshold()

# The imports of a stage make a million objects that all stay. Visiting them over and over takes a quarter of
# the start.
gc.set_threshold(100_000, 50, 1000)
