"""One published layer family in each module."""
