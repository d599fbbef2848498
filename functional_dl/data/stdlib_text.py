"""Python's own standard-library source as a stream of characters, for language models that need no download."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import numpy as np

from functional_dl.data.dataset import Dataset

__all__ = ["stdlib_text"]


def stdlib_text(context: int = 64, characters: int = 1_000_000, test_share: float = 0.1) -> Dataset:
    """Windows of ``context`` characters and, as targets, the same one on: (N, context) int32 each.

    The top-level modules in alphabetical order, printable ASCII and newlines; the last part is for testing.  Facts:
    ``vocabulary`` and ``unigram_entropy`` in nats per character, what a model that knows only frequencies can reach.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    text, total = [], 0
    for path in sorted(folder.glob("*.py")):
        text.append(path.read_bytes())
        total += len(text[-1])
        if total >= 2 * characters:
            break
    if not text:
        raise FileNotFoundError(f"stdlib_text: no Python source in {folder}; this Python ships without its library.")
    codes = np.frombuffer(b"".join(text), np.uint8)
    codes = codes[((codes >= 32) & (codes < 127)) | (codes == 10)][:characters]
    ids = np.where(codes == 10, 0, codes.astype(np.int32) - 31).astype(np.int32)
    counts = np.bincount(ids, minlength=96)
    share = counts[counts > 0] / counts.sum()
    entropy = float(-np.sum(share * np.log(share)))
    starts = np.arange(0, len(ids) - context - 1, context)
    inputs = np.stack([ids[s : s + context] for s in starts])
    targets = np.stack([ids[s + 1 : s + context + 1] for s in starts])
    cut = len(starts) - round(test_share * len(starts))
    facts = {"kind": "language", "shape": (context,), "vocabulary": 96, "unigram_entropy": entropy, "context": context}
    return Dataset((inputs[:cut], targets[:cut]), (inputs[cut:], targets[cut:]), facts)
