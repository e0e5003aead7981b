"""Records to graphs: pure, deterministic, no input or output."""
