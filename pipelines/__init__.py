"""DVC stages: each module reads parameters, calls geograph, and writes outputs and metrics."""
