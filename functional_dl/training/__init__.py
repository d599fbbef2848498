"""Training: one compiled step, the loop around it, and what is written to disk."""

from functional_dl.training.step import train_step

__all__ = ["train_step"]
