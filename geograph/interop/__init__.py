"""Bridges to released checkpoints and to the file formats of chemistry."""
