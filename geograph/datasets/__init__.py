"""Stores, splits, loaders and downloads."""
