"""Training: one compiled step, the loop around it, and what is written to disk."""

from functional_dl.training.step import Training, network_step, train_step

__all__ = ["Training", "network_step", "train_step"]
