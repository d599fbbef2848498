"""The command that tunes: what it writes, how it goes on after any end, and one line for every bad input."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from functional_dl.cli import main
from functional_dl.cli.devices import PATIENCE, count_cores
from functional_dl.config import load

CONFIG = """
name = "small"
[data]
name = "wine"
[[preprocessing]]
name = "standardize"
[model]
architecture = "mlp"
hidden = [6]
[optimizer]
name = "sgd"
learning_rate = 0.05
[training]
epochs = 40
batch = 16
[tuning]
finalists = 2
seeds = 2
[tuning.strategy]
name = "halving"
members = 6
eta = 2
[tuning.space]
"optimizer.learning_rate" = { log_uniform = [1e-4, 1.0] }
"initialization.scale" = { uniform = [0.5, 2.0] }
"""
FILES = {"config.toml", "trials.jsonl", "population.safetensors", "ranking.csv", "best.toml", "result.json"}
PICTURES = {"parallel_coordinates.png", "rungs.png", "hyperparameters.png"}
RUN = "runs/small-tune-1"


def environment(devices: int = 8) -> dict[str, str]:
    """For a process with as many devices as this one has, whose results are then the same to the last digit.

    There are no more members than devices: how many should run side by side on one is not measured.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    root = str(Path(__file__).parent.parent)
    return {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu", "COLUMNS": "200"}


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """The command, in this process: its exit code, and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["functional-dl", *arguments]), pytest.raises(SystemExit) as ended,
    ):  # fmt: skip
        main()
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def begun(folder: Path, until: str, *arguments: str) -> subprocess.Popen[str]:
    """A search under way, when a line of it begins like this."""
    child = subprocess.Popen(
        [sys.executable, "-u", "-m", "functional_dl.cli", "tune", *arguments],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    seen = []
    for line in child.stdout:
        seen.append(line)
        if line.startswith(until):
            return child
    raise AssertionError("".join(seen))


def result(folder: Path) -> Any:
    return json.loads((folder / RUN / "result.json").read_text())


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a config and a finished search, and what that printed."""
    folder = tmp_path_factory.mktemp("tune")
    (folder / "small.toml").write_text(CONFIG)
    code, out, err = run(folder, "tune", "small.toml")
    assert code == 0, out + err
    return folder, out


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search that was killed in its second round."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "small.toml").write_text(CONFIG)
    child = begun(folder, "round 2: 3 members", "small.toml")
    child.kill()
    child.communicate(timeout=60)
    assert not (folder / RUN / "result.json").exists()
    return folder


def test_it_writes_a_run_folder(tuned: tuple[Path, str]) -> None:
    folder, printed = tuned
    names = {path.name for path in (folder / RUN).iterdir()}
    assert names == FILES or names == FILES | PICTURES  # matplotlib is an extra
    assert load(folder / RUN / "config.toml") == load(folder / "small.toml")
    begun = [line for line in printed.splitlines() if " to step " in line]
    assert begun == [
        "round 1: 6 members to step 70; first its program is compiled", "round 2: 3 members to step 140",
        "round 3: 1 member to step 280", "finalists: 4 trainings to step 280",
    ]  # fmt: skip


def test_the_ranking_has_a_row_for_each_member(tuned: tuple[Path, str]) -> None:
    with (tuned[0] / RUN / "ranking.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    keys = ["optimizer.learning_rate", "initialization.scale"]
    assert list(rows[0]) == ["rank", "member", "steps", "accuracy", "loss", "seed", *keys]
    assert [row["rank"] for row in rows] == [str(i) for i in range(1, 7)]
    assert sorted(int(row["member"]) for row in rows) == list(range(6))
    assert [int(row["steps"]) for row in rows] == [280, 140, 140, 70, 70, 70]
    assert all(1e-4 <= float(row[keys[0]]) <= 1.0 and 0 <= float(row["accuracy"]) <= 1 for row in rows)


def test_the_result_says_what_the_files_say(tuned: tuple[Path, str]) -> None:
    folder, printed = tuned
    found, best = result(folder), load(folder / RUN / "best.toml")
    values = found["best"]["values"]
    assert best.tuning is None and best.name == "small-best" and best.seed == found["best"]["seed"]
    assert dict(best.optimizer)["learning_rate"] == values["optimizer.learning_rate"]
    assert best.initialization.scale == values["initialization.scale"]
    means = [one["validation"]["accuracy"]["mean"] for one in found["finalists"]]
    assert found["score"] == "accuracy" and means == sorted(means, reverse=True)
    assert found["validation"] == found["finalists"][0]["validation"]
    lines = [json.loads(line) for line in (folder / RUN / "trials.jsonl").read_text().splitlines()]
    own = [line for line in lines if found["best"]["member"] in (line["member"], line.get("replicate_of"))]
    last = {line["seed"]: line["metrics"]["accuracy"] for line in own}
    assert [last[seed] for seed in found["finalists"][0]["seeds"]] == found["validation"]["accuracy"]["values"]
    assert found["member_steps"]["search"] == 6 * 70 + 3 * 70 + 140 and found["members"] == 6
    assert f"the best on the test part, once: accuracy {found['test']['accuracy']['mean']:.2%} ±" in printed


def test_the_best_trains(tuned: tuple[Path, str]) -> None:
    code, out, err = run(tuned[0], "train", f"{RUN}/best.toml", "training.epochs=1")
    assert code == 0 and "runs/small-best-1" in out, out + err


def test_a_finished_search_prints_its_results_again(tuned: tuple[Path, str]) -> None:
    folder, printed = tuned
    before = {name: (folder / RUN / name).read_bytes() for name in FILES}
    code, out, err = run(folder, "tune", "--resume", RUN)
    assert code == 0, out + err
    assert printed[printed.index("6 of 6 members") :] in out and "round 1" not in out
    assert {name: (folder / RUN / name).read_bytes() for name in FILES} == before


def test_killed_it_goes_on_to_the_same_result(tuned: tuple[Path, str], killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed / "runs", tmp_path / "runs")
    code, out, err = run(tmp_path, "tune", "--resume", RUN)
    assert code == 0, out + err
    assert "round 2: 3 members" in out and "round 1:" not in out
    for name in ("result.json", "ranking.csv", "best.toml", "trials.jsonl"):
        assert (tmp_path / RUN / name).read_bytes() == (tuned[0] / RUN / name).read_bytes(), name


def test_killed_in_its_first_round_it_begins_anew(tuned: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / RUN).mkdir(parents=True)
    shutil.copy(tuned[0] / RUN / "config.toml", tmp_path / RUN)
    lines = (tuned[0] / RUN / "trials.jsonl").read_text()
    (tmp_path / RUN / "trials.jsonl").write_text(lines[: lines.index("\n") + 20])  # results of which no snapshot knows
    code, out, err = run(tmp_path, "tune", "--resume", RUN)
    assert code == 0 and "round 1: 6 members" in out, out + err
    for name in ("result.json", "trials.jsonl"):
        assert (tmp_path / RUN / name).read_bytes() == (tuned[0] / RUN / name).read_bytes(), name


def test_on_another_number_of_devices_it_goes_on_as_well(tuned: tuple[Path, str], killed: Path) -> None:
    """By itself it takes the cores of the machine for devices: here one."""
    done = subprocess.run(
        [sys.executable, "-m", "functional_dl.cli", "tune", "small.toml", "--resume", RUN],
        cwd=killed, env=environment(1), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0 and "devices" not in done.stdout, done.stdout + done.stderr
    assert result(killed)["best"] == result(tuned[0])["best"]
    for name in ("validation", "test"):
        loss, due = (result(folder)[name]["loss"]["mean"] for folder in (killed, tuned[0]))
        assert loss == pytest.approx(due, rel=1e-3)


def test_cores_are_devices_that_wait_for_each_other() -> None:
    words = "from functional_dl.cli import devices; devices.divide_cores(); print(devices.machine())"
    bare = {**environment(), "XLA_FLAGS": ""}
    done = subprocess.run([sys.executable, "-c", words], env=bare, capture_output=True, text=True, timeout=120)
    cores = count_cores()
    assert done.stdout.startswith(f"a CPU of {cores} cores" + (f" as {cores} devices" if cores > 1 else "")), (
        done.stderr
    )
    said = subprocess.run(
        [sys.executable, "-c", words + "; import os; print(os.environ['XLA_FLAGS'])"],
        env=environment(3), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert " as 3 devices" in said.stdout and all(flag in said.stdout for flag in PATIENCE), said.stderr


def test_stopped_it_saves_and_goes_on(tuned: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(CONFIG)
    child = begun(tmp_path, "round 1: 6 members", "small.toml")
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=120)
    assert child.returncode == 130, out
    assert "stopping when this round is saved" in out and f"functional-dl tune --resume {RUN}" in out
    assert "round 1: best accuracy" in out and "round 2" not in out
    assert (tmp_path / RUN / "ranking.csv").is_file() and not (tmp_path / RUN / "result.json").exists()
    code, out, err = run(tmp_path, "tune", "--resume", RUN)
    assert code == 0 and "round 1:" not in out, out + err
    assert result(tmp_path) == result(tuned[0])


@pytest.mark.parametrize("wait", [0, 6])
def test_a_second_request_ends_it_at_once(tmp_path: Path, wait: int) -> None:
    """While the program of a rung is compiled, and while it runs."""
    (tmp_path / "small.toml").write_text(CONFIG)
    with begun(tmp_path, "round 1: 6 members", "small.toml", "training.epochs=4000000") as child:
        time.sleep(wait)
        child.send_signal(signal.SIGTERM)
        assert child.stdout is not None and "stopping when this round is saved" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        try:
            child.communicate(timeout=30)
        finally:
            child.kill()
    assert child.returncode == 130


OWN = "tuning.space={'optimizer.learning_rate'={log_uniform=[1e-3,1e-1]}"
BAD = [
    ("key", [OWN + ",'model.dropuot'={uniform=[0.0,0.5]}}"], "unknown key dropuot; did you mean dropout?"),
    ("value", [OWN + ",'model.dropout'={uniform=[0.0,1.5]}}"], "[tuning.space] model.dropout"),
    ("kind", ["tuning.space={'seed'={unifrom=[1,2]}}"], "unknown kind unifrom; did you mean uniform?"),
    ("choice", [OWN + ",'model.activation'={choice=['relu','rleu']}}"], "did you mean relu?"),
    ("its own", ["tuning.space={'tuning.seeds'={integer=[1,2]}}"], "this is not of a training"),
    ("strategy", ["tuning.strategy=havling"], "unknown name 'havling'; did you mean halving?"),
    ("eta", ["tuning.strategy.eta=1"], "[tuning.strategy]: Halving: eta is 1"),
    ("too short", ["tuning.strategy.least=5000"], "[tuning.strategy]: Halving: the first rung is to have 5000 steps"),
    ("share", ["tuning.validation=0.001"], "validation = 0.001 of 142 examples leaves none"),
    ("score", ["tuning.score=acuracy"], "unknown score 'acuracy'; known: loss, accuracy"),
    ("data", ["preprocessing=[]", "data={name='table',path='none.csv',target='x'}"], "none.csv"),
    ("budget", ["memory.plan=1"], "cannot be met: the smallest reachable peak"),
    (
        "diverged",
        ["tuning.space={'optimizer.learning_rate'={uniform=[1e30,1e31]}}", "model.activation='identity'"],
        "none of 6 members came to a finite score: the space wants other bounds.",
    ),
]  # fmt: skip
RESUMED = [
    ("no run", ["--resume", "runs/none"], "not a run folder"),
    ("a training", ["--resume", "runs/small-1"], "not a folder of functional-dl tune"),
    ("another", ["--resume", RUN, "optimizer.momentum=0.5"], "is of another config, whose optimizer differs"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "arguments", "words"), BAD, ids=[b[0] for b in BAD])
def test_bad_input_is_one_line_and_code_2(tmp_path: Path, kind: str, arguments: list[str], words: str) -> None:
    (tmp_path / "small.toml").write_text(CONFIG)
    _is_refused(run(tmp_path, "tune", "small.toml", *arguments), words)
    assert kind in ("budget", "diverged") or not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("kind", "arguments", "words"), RESUMED, ids=[b[0] for b in RESUMED])
def test_what_cannot_go_on(tuned: tuple[Path, str], kind: str, arguments: list[str], words: str) -> None:
    (tuned[0] / "runs/small-1").mkdir(exist_ok=True)
    (tuned[0] / "runs/small-1/config.toml").write_text(CONFIG)
    before = {path: path.stat().st_mtime_ns for path in tuned[0].rglob("*")}
    _is_refused(run(tuned[0], "tune", *arguments), words)
    assert {path: path.stat().st_mtime_ns for path in tuned[0].rglob("*")} == before


def test_a_command_without_a_config_says_so(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "tune")
    assert code == 2 and "tune needs a CONFIG, or --resume RUN" in err


def _is_refused(done: tuple[int, str, str], words: str) -> None:
    code, out, err = done
    assert code == 2, out + err
    assert words in err and len(err.strip().splitlines()) == 1
