"""The command line: training, exact resumption, interruption, and one clear line for every bad input."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIG = """
name = "small"
[data]
name = "digits"
[model]
architecture = "mlp"
hidden = [12]
batch_norm = true
dropout = 0.1
[optimizer]
name = "adam"
learning_rate = 0.01
[schedule]
name = "cosine"
[[wrappers]]
name = "average"
decay = 0.9
[training]
epochs = 4
batch = 64
log_every = 5
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "functional_dl.cli", *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def environment() -> dict[str, str]:
    root = str(Path(__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and one finished run."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.toml").write_text(CONFIG)
    done = run(folder, "train", "small.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_train_writes_a_run_folder(trained: Path) -> None:
    path = trained / "runs/small-1"
    assert {p.name for p in path.iterdir()} >= {"config.toml", "metrics.jsonl", "snapshot.safetensors"}
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "test" in line] == [1, 2, 3, 4]
    assert lines[-1]["test"]["accuracy"] > 0.8
    assert {"loss", "gradient_norm", "update_ratio", "accuracy"} <= lines[0].keys()


def test_check_prints_the_largest_difference(trained: Path) -> None:
    done = run(trained, "check", "small.toml", "model.hidden=[5]")
    assert done.returncode == 0
    assert "largest relative difference" in done.stdout and "dense_0/kernel" in done.stdout


def test_ledger_prints_and_writes_what_is_kept(tmp_path: Path) -> None:
    config = Path(__file__).parent.parent / "configs/digits_mlp.toml"
    small = ["model.hidden=[12]", "training.batch=16", "model.activation=tanh"]
    files = ["--json", "l.json", "--picture", "l.png"]
    done = run(tmp_path, "ledger", str(config), *small, "memory.plan=keep", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "l.json").read_text())
    assert found["memory"] == "keep" and found["peak_bytes"] == found["plan"]["peak_bytes"] > 0
    assert found["plan"] == found["keep"] and found["kept"][0]["shape"] and found["inputs"][0]["path"]
    assert "f32[16,12]" in done.stdout and "nn/network.py:" in done.stdout
    assert {p.name for p in tmp_path.iterdir()} <= {"l.json", "l.png"} and "ledger: l.json" in done.stdout
    if (tmp_path / "l.png").is_file():  # matplotlib is an extra
        assert (tmp_path / "l.png").read_bytes().startswith(b"\x89PNG") and "picture: l.png" in done.stdout
    else:
        assert "matplotlib is missing" in done.stdout


def test_a_training_within_a_budget(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(CONFIG)
    done = run(tmp_path, "train", "small.toml", "training.epochs=1", "memory.plan=100_000_000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[memory]\nplan = 100000000" in (tmp_path / "runs/small-1/config.toml").read_text()
    done = run(tmp_path, "ledger", "runs/small-1/config.toml")
    assert done.returncode == 0 and "memory = 95.37 MiB" in done.stdout, done.stdout + done.stderr


def test_a_stopped_run_goes_on_bit_for_bit(trained: Path, tmp_path: Path) -> None:
    """Interrupted in the middle of an epoch and resumed, it ends with the very bytes of the uninterrupted run."""
    (tmp_path / "small.toml").write_text(CONFIG)
    child = subprocess.Popen(
        [sys.executable, "-m", "functional_dl.cli", "train", "small.toml", "training.epochs=4"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    metrics = tmp_path / "runs/small-1/metrics.jsonl"
    while not (metrics.is_file() and metrics.stat().st_size) and child.poll() is None:
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    if child.returncode == 130:  # 0 if it was quicker than the signal
        assert "stopped and saved" in out, out + err
    done = run(tmp_path, "train", "--resume", "runs/small-1")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("snapshot.safetensors", "metrics.jsonl"):
        assert (tmp_path / "runs/small-1" / name).read_bytes() == (trained / "runs/small-1" / name).read_bytes()


BAD = [
    ("missing file", ["train", "smal.toml"], "smal.toml: no such file; did you mean small.toml?"),
    (
        "unknown key",
        ["train", "small.toml", "optimizer.learning_rat=1"],
        "small.toml [optimizer]: unknown key learning_rat; did you mean learning_rate?",
    ),
    ("unknown section", ["train", "small.toml", "trainin.epochs=1"], "unknown key trainin; did you mean training?"),
    ("wrong type", ["train", "small.toml", "training.epochs='many'"], "small.toml [training]: epochs = 'many'"),
    ("wrong value", ["train", "small.toml", "optimizer.learning_rate=-1.0"], "greater than 0"),
    ("architecture", ["train", "small.toml", "model.architecture=mpl"], "architecture 'mpl'; did you mean mlp?"),
    ("together", ["train", "small.toml", "data={name='stdlib'}"], "does not go with"),
    ("loss", ["train", "small.toml", "data.name=diabetes", "loss=cross_entropy"], "[loss] name 'cross_entropy'"),
    ("wrapper", ["train", "small.toml", "wrappers.0.name=averag"], "[wrappers.0]: unknown name 'averag'; did you mean"),
    ("entry", ["train", "small.toml", "wrappers.1.name=swa"], "'1' is no entry of a list of 1"),
    ("no table", ["train", "small.toml", "data={name='table',path='none.csv'}"], "none.csv"),
    ("text", ["train", "small.toml", "data={name='stdlib'}", "preprocessing=['center']"], "characters are no numbers"),
    ("batch", ["train", "small.toml", "training.batch=100000"], "batch size 100000 for 1438 examples"),
    ("override", ["train", "small.toml", "epochs"], "due is key=value"),
    ("no run", ["train", "--resume", "runs/none"], "not a run folder"),
    (
        "policy",
        ["ledger", "small.toml", "memory.plan=lest"],
        "small.toml [memory]: plan = 'lest': due is 'auto', 'keep', 'least' or a positive whole number of bytes; "
        "did you mean least?",
    ),
    ("budget", ["ledger", "small.toml", "memory.plan=1"], "cannot be met: the smallest reachable peak"),
    ("budget of a training", ["train", "small.toml", "memory.plan=1"], "cannot be met: the smallest reachable peak"),
    ("no folder", ["ledger", "small.toml", "--json", "none/ledger.json"], "none/ledger.json: no such folder none"),
    ("no PNG", ["ledger", "small.toml", "--picture", "memory.jpg"], "due is the name of a PNG, memory.png"),
    (
        "shapes",
        ["train", "--resume", "runs/small-1", "model.hidden=[7]"],
        "dense_0/kernel is float32[64, 12], due is float32[64, 7]",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "arguments", "words"), BAD, ids=[b[0] for b in BAD])
def test_bad_input_is_one_line_and_code_2(trained: Path, kind: str, arguments: list[str], words: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in trained.rglob("*")}
    done = run(trained, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert words in lines[-1] and len(lines) == 1 and "Traceback" not in done.stderr
    assert {p: p.stat().st_mtime_ns for p in trained.rglob("*")} == before


@pytest.mark.parametrize("damage", ["truncated", "foreign", "not TOML"])
def test_damaged_files_are_refused(trained: Path, tmp_path: Path, damage: str) -> None:
    (tmp_path / "small.toml").write_text(CONFIG)
    folder = tmp_path / "runs/small-1"
    folder.mkdir(parents=True)
    content = (trained / "runs/small-1/snapshot.safetensors").read_bytes()
    (folder / "snapshot.safetensors").write_bytes(content[:-100] if damage == "truncated" else b"\x80\x04N.")
    config = (trained / "runs/small-1/config.toml").read_text()
    (folder / "config.toml").write_text(config if damage != "not TOML" else "name = ")
    done = run(tmp_path, "train", "--resume", "runs/small-1")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    due = "not valid TOML" if damage == "not TOML" else "unreadable or truncated snapshot"
    assert due in done.stderr


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    """A CSV with text labels, preprocessed; the run can be gone on with, its preprocessing fitted anew."""
    rng = random.Random(0)
    rows = [(rng.gauss(3 * (i % 2), 1), rng.gauss(0, 100), "ab"[i % 2]) for i in range(120)]
    (tmp_path / "own.csv").write_text("x,y,z,kind\n" + "".join(f"{x},{y},5,{k}\n" for x, y, k in rows))
    (tmp_path / "small.toml").write_text(CONFIG)
    own = ["data={name='table',path='own.csv',target='kind'}", "preprocessing=['standardize']", "training.batch=16"]
    done = run(tmp_path, "train", "small.toml", *own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "note: standardize: column 2 is constant in the training data" in done.stdout
    found = json.loads((tmp_path / "runs/small-1/metrics.jsonl").read_text().splitlines()[-1])
    assert found["test"]["accuracy"] > 0.7
    done = run(tmp_path, "train", "--resume", "runs/small-1", "training.epochs=5")
    assert done.returncode == 0 and "resuming" in done.stdout, done.stdout + done.stderr
