"""``functional-dl diagnose``: the table, words, remedies and picture of a config or of a run."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from functional_dl import nn
from functional_dl.cli import cli, main
from functional_dl.cli.diagnose import split_overrides
from functional_dl.config import load
from functional_dl.data import Sampler
from functional_dl.training.experiment import build
from functional_dl.training.loop import snapshot_of
from functional_dl.training.run_folder import RunFolder
from functional_dl.training.step import network_step
from tests.test_cli import run

CONFIG = """
name = "chain"
[data]
name = "digits"
[model]
architecture = "mlp"
hidden = [10, 10, 10, 10, 10, 10]
activation = "sigmoid"
init = "lecun_normal"
[optimizer]
name = "sgd"
learning_rate = 0.1
[training]
epochs = 1
batch = 64
"""
SIGMOIDS = Path(__file__).parent.parent / "configs/diagnosis/sigmoid_chain.toml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "chain.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def diagnose(*arguments: str) -> Result:
    done = CliRunner().invoke(cli, ["diagnose", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_a_chain_of_sigmoids_and_its_remedies(folder: Path) -> None:
    """The rate that is told, against the notes' recursion on the same batches; remedies in the same picture."""
    done = diagnose("chain.toml", "--json", "f.json", "--with", "model.activation=relu,model.init=he_normal",
                    "--with", 'wrappers=[{name="clip_by_global_norm",threshold=0.01}]')  # fmt: skip
    assert "measured at step 0, on 1,024 training examples" in done.output
    config = load("chain.toml")
    experiment = build(config)
    params = experiment.start(0).optimizer.params
    sampler = Sampler(1438, 64, 0)
    squares = np.zeros(6)
    for _ in range(16):
        x, labels = experiment.batch(next(sampler))
        slopes = nn.backprop.pre_activation(params, x, labels, "cross_entropy", "sigmoid").slopes[:-1]
        squares += [float(np.sum(np.square(slope))) / 16 for slope in slopes]
    rate = (squares[0] / squares[-1]) ** 0.1  # a square root, of 5 steps
    found = json.loads((folder / "f.json").read_text())
    (vanishing,) = [f for f in found["as it is"]["findings"] if f["kind"] == "vanishing"]
    assert vanishing["figure"] == pytest.approx(rate, rel=1e-3) and rate < 0.25
    assert vanishing["places"] == ["dense_5", "dense_0"]
    assert f"leaves {rate:.2g} of δ" in done.output
    assert "try model.activation=relu model.init=he_normal:" in done.output
    relu, clipped = (found[name] for name in list(found)[1:])
    assert not [f for f in relu["findings"] if f["kind"] == "vanishing"]
    before, after = (x["layers"][-1] for x in (found["as it is"], clipped))
    assert after["gradient_norm"] == before["gradient_norm"] and after["update_ratio"] < 0.1 * before["update_ratio"]
    if (folder / "chain_gradient_flow.png").is_file():  # matplotlib is an extra
        assert "picture: chain_gradient_flow.png" in done.output
    else:
        assert "matplotlib is missing" in done.output
    assert {p.name for p in folder.iterdir()} <= {"chain.toml", "f.json", "chain_gradient_flow.png"}


def test_steps_are_trained_first(folder: Path) -> None:
    words = ["model.hidden=[12]", "model.activation=relu", "optimizer.learning_rate=5.0"]
    done = diagnose("chain.toml", *words, "--steps", "3", "--examples", "64", "--picture", "other.png")
    assert "measured at step 3, on 64 training examples" in done.output
    experiment = build(load("chain.toml", words))
    step, state = network_step(experiment.objective.train, experiment.optimizer), experiment.start(0)
    for indices in islice(Sampler(1438, 64, 0), 3):
        state, _ = step(state, experiment.batch(indices))
    x, _ = experiment.batch(next(Sampler(1438, 64, 0)))
    off = np.flatnonzero(~np.any(nn.backprop.forward(state.optimizer.params, x, "relu").pre[0] > 0, axis=0))
    before = nn.backprop.forward(experiment.start(0).optimizer.params, x, "relu").pre[0]
    assert len(off) > np.sum(~np.any(before > 0, axis=0))  # that rate throws units off for good
    assert f"of layer dense_0 are dead on these data: {', '.join(map(str, off))}." in done.output
    assert "try model.activation=leaky_relu:" in done.output and "try optimizer.learning_rate=0.5:" in done.output


def test_a_run_where_its_snapshot_is(folder: Path) -> None:
    done = run(folder, "train", "chain.toml", "model.hidden=[8]", "model.activation=tanh")
    assert done.returncode == 0, done.stdout + done.stderr
    before = {p: p.read_bytes() for p in (folder / "runs/chain-1").iterdir()}
    done = diagnose("--run", "runs/chain-1", "--json", "f.json")
    assert "measured at step 22, on 1,024 training examples" in done.output
    assert {p: p.read_bytes() for p in (folder / "runs/chain-1").iterdir()} == before
    trained, config = RunFolder.open(folder / "runs/chain-1")
    state, _ = snapshot_of(trained, build(config), config)
    kernel = json.loads((folder / "f.json").read_text())["as it is"]["layers"][0]
    assert kernel["kernel"] == "dense_0/kernel"
    h = nn.backprop.forward(state.optimizer.params, build(config).data.train[0], "tanh").pre[0]
    assert kernel["value_rms"] == pytest.approx(float(np.sqrt(np.mean(h**2))), rel=0.05)  # these are all examples


def test_the_config_of_the_notes_is_what_it_says() -> None:
    config = load(SIGMOIDS)
    assert config.model.activation == "sigmoid" and len(config.model.hidden) == 11  # type: ignore[attr-defined]


def test_overrides_in_one_string() -> None:
    clip = 'wrappers=[{name="clip, or so",threshold=1.0}, "swa"]'
    assert split_overrides(f"a.b=1,c=[1, 2] {clip} , d='x y'") == ["a.b=1", "c=[1, 2]", clip, "d='x y'"]


BAD = [
    ("no config", [], "diagnose needs a CONFIG, or --run RUN"),
    ("missing file", ["chan.toml"], "chan.toml: no such file; did you mean chain.toml?"),
    ("misspelt remedy", ["chain.toml", "--with", "model.activation=rleu"], "did you mean relu?"),
    ("no override", ["chain.toml", "--with", "relu"], "due is key=value"),
    ("steps", ["chain.toml", "--steps", "-1"], "--steps -1: due is a number of steps, 0 or more"),
    ("examples", ["chain.toml", "--examples", "0"], "--examples 0: due is"),
    ("no PNG", ["chain.toml", "--picture", "flow.jpg"], "due is the name of a PNG, flow.png"),
    ("no folder", ["chain.toml", "--json", "none/flow.json"], "none/flow.json: no such folder none"),
    ("no run", ["--run", "runs/none"], "runs/none: not a run folder"),
    ("both", ["--run", "runs/none", "--with", "seed=1"], "due is one"),
    ("too many", ["chain.toml", *(w for i in range(7) for w in ("--with", f"seed={i}"))], "can be told apart"),
    ("no data", ["chain.toml", "data={name='table',path='none.csv'}"], "none.csv"),
]


@pytest.mark.parametrize(("kind", "arguments", "words"), BAD, ids=[b[0] for b in BAD])
def test_bad_input_is_one_line_and_code_2(
    folder: Path, kind: str, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.argv", ["functional-dl", "diagnose", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    out = capsys.readouterr()
    assert end.value.code == 2 and not out.out
    assert words in out.err and len(out.err.strip().splitlines()) == 1
    assert [p.name for p in folder.iterdir()] == ["chain.toml"]
