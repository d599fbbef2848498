"""Diagnostics: what a backward pass keeps and repeats, and how its gradient flows, for people to read."""

from functional_dl.diagnostics.flow import Flow, Measures, Place, Share
from functional_dl.diagnostics.gradient_flow import gradient_flow

__all__ = ["Flow", "Measures", "Place", "Share", "gradient_flow"]
