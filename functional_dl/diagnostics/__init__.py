"""Diagnostics: what a backward pass keeps and repeats, for people to read."""
