"""Files that commands write: checked before the work, written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from functional_dl.config import ConfigError
from functional_dl.training.snapshots import write_atomically

__all__ = ["check_folders", "check_png", "write_picture"]


def check_folders(*files: Path | None) -> None:
    """Raise `FileNotFoundError` for a file whose folder is missing; ``None`` is an option not given."""
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise FileNotFoundError(f"{file}: no such folder {file.parent}")


def check_png(image: Path | None) -> None:
    """Raise `ConfigError` unless the picture that was asked for is called a PNG."""
    if image is not None and image.suffix.lower() != ".png":
        raise ConfigError(f"--picture {image}: due is the name of a PNG, {image.with_suffix('.png')}")


def write_picture(console: Console, image: Path, draw: Callable[[Path], bool]) -> None:
    """Write what ``draw(path)`` draws, which says whether it could, and tell where it is."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "picture.png"
        if draw(drawn):
            write_atomically(image, drawn.read_bytes())
            console.print(f"picture: {image}", soft_wrap=True)
        else:
            console.print("no picture: matplotlib is missing; pip install 'functional-dl\\[plots]' brings it")
