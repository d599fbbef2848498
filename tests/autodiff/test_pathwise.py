"""Paths against sweep: on hand-made, random and traced graphs; what both take, what is refused, the picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

import functional_dl as fdl
from functional_dl import nn
from functional_dl.autodiff.path_sums import aggregate, count, paths, product_units, sweep
from functional_dl.autodiff.scalar_graph import ScalarGraph, scalar_graph
from functional_dl.diagnostics import path_picture
from tests.oracles import normal, uniform


def test_chain_rule_over_several_hidden_units() -> None:
    """df/dw = Σ_i (∂f/∂g_i)(dg_i/dw) for f = g₁ g₂ g₃, g = (w², sin w, 3 w)."""
    graph, w = ScalarGraph(), 0.7
    x = graph.input(w, "w")
    g = [graph.product(x, x), graph.node(math.sin(w), {x: math.cos(w)}), graph.node(3 * w, {x: 3.0})]
    f = graph.product(*g)
    due = 3 * (3 * w**2 * math.sin(w) + w**3 * math.cos(w))
    assert aggregate(graph, x, f) == (pytest.approx(due, rel=1e-14), 3, 3)
    assert sweep(graph, f).slopes[x] == pytest.approx(due, rel=1e-14)
    assert [graph.successors[x][i] for i in g] == [2 * w, math.cos(w), 3.0]


@pytest.mark.parametrize("x", [1.1, -0.9, 1.0])
def test_golden_case(x: float) -> None:
    """Five layers of two product units: o = x³², 2⁵ paths that each add x³¹, 160 multiplications against 18."""
    graph = product_units(x)
    source, target = graph.inputs[0], graph.outputs[0]
    assert len(graph.nodes) == 12 and graph.nodes[target].value == pytest.approx(x**32, rel=1e-13)
    found = aggregate(graph, source, target)
    assert found == (pytest.approx(32 * x**31, rel=1e-13), 2**5, 5 * 2**5)
    assert [math.prod(along) for along in paths(graph, source, target)] == pytest.approx([x**31] * 32, rel=1e-13)
    swept = sweep(graph, target)
    assert swept.slopes[source] == pytest.approx(32 * x**31, rel=1e-13) and swept.multiplications == 18
    assert swept.slopes[target] == 1


@pytest.mark.parametrize(("depth", "width"), [(1, 1), (4, 1), (1, 3), (3, 3), (7, 2)])
def test_counts_of_product_units(depth: int, width: int) -> None:
    graph = product_units(1.0, depth, width)
    source, target = graph.inputs[0], graph.outputs[0]
    derivative, number, multiplications = aggregate(graph, source, target)
    assert derivative == number == width**depth and multiplications == depth * number
    assert sweep(graph, target).multiplications == width + width**2 * (depth - 1)


def test_dead_ends_are_not_followed() -> None:
    """2⁶⁰ paths that lead elsewhere cost nothing."""
    graph = product_units(1.0, depth=60)
    source = graph.inputs[0]
    beside = graph.node(5.0, {source: 5.0})
    assert aggregate(graph, source, beside) == (5.0, 1, 0)
    assert sweep(graph, beside).multiplications == 0


@st.composite
def graphs(draw: Any) -> ScalarGraph:
    """Random acyclic graphs with integer derivatives, null ones among them, so that sums are exact."""
    graph = ScalarGraph()
    for _ in range(draw(st.integers(1, 3))):
        graph.input(0.0)
    for new in range(len(graph.nodes), len(graph.nodes) + draw(st.integers(1, 9))):
        parents = draw(st.sets(st.integers(0, new - 1), max_size=4))
        graph.node(0.0, {i: draw(st.integers(-3, 3)) for i in parents})
    return graph


@given(graphs())
def test_enumerator_equals_sweep_on_random_graphs(graph: ScalarGraph) -> None:
    """Also where target is an inner node, the source itself, or comes before it; and counting equals enumerating."""
    for target in range(len(graph.nodes)):
        swept = sweep(graph, target)
        for source in range(len(graph.nodes)):
            found = aggregate(graph, source, target)
            assert found.derivative == swept.slopes[source]
            assert count(graph, source, target) == (found.paths, found.multiplications)
        # An independent solution: S = (1 - Z)⁻¹, the sum of all powers of the matrix of local derivatives.
        n = len(graph.nodes)
        z = np.zeros((n, n))
        for i, successors in enumerate(graph.successors):
            z[i, list(successors)] = list(successors.values())
        np.testing.assert_array_equal(np.round(np.linalg.inv(np.eye(n) - z)[:, target]), swept.slopes)


def test_null_edges_lead_nowhere() -> None:
    graph = ScalarGraph()
    a, b = graph.input(2.0, "a"), graph.input(0.0, "b")
    both = graph.product(a, b)
    assert graph.successors[a] == {} and graph.successors[b] == {both: 2.0}
    assert aggregate(graph, a, both) == (0.0, 0, 0) and aggregate(graph, b, both) == (2.0, 1, 0)
    with pytest.raises(ValueError, match=r"node stray is computed from \[9\]; the graph has nodes 0 to 2"):
        graph.node(1.0, {a: 1.0, 9: 1.0}, "stray")


def rnn(w: Any, x: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(w[0] * h + w[1] * x)
        return h, h * x

    h, ys = lax.scan(step, 0.3, x)
    return h + jnp.sum(ys)


def backwards(w: Any) -> Any:
    """The first scanned value is a constant, the later ones are not; the last is the first."""
    c, ys = lax.scan(lambda c, k: (c * w[0] + w[1], c * k), 1.0, jnp.arange(1.0, 4.0), reverse=True)
    return c * ys[0] + ys[2] * w[0]


@jax.custom_vjp
def steeper(x: Any) -> Any:
    """x², given the slope 7 x by its rule, which is what counts."""
    return x**2


steeper.defvjp(lambda x: (x**2, x), lambda x, ct: (ct * 7 * x,))

W = uniform(0.2, 0.9, 2, 3)
MLP = nn.mlp(3, 2, hidden=[3], activation="relu")
PARAMS = {f"dense_{i}": {"kernel": normal(*s, seed=i), "bias": normal(s[1])} for i, s in enumerate([(3, 3), (3, 2)])}

FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], Any]] = {
    "sines": (lambda x: jnp.sum(jnp.sin(x) * jnp.cos(x[::-1])), (normal(4),), 0),
    "itself twice": (lambda x: x * x + x / x, (1.7,), 0),
    "the output is an input": (lambda x: x, (1.7,), 0),
    "constant": (lambda x: jnp.sum(jnp.zeros(3)) + jnp.floor(x), (1.7,), 0),
    "matrices": (lambda a, b: jnp.sum(jnp.tanh(a @ b) ** 2), (W, normal(3, 2)), (0, 1)),
    "one of two arguments": (lambda a, b: jnp.sum(jnp.tanh(a @ b)), (W, normal(3, 2)), 1),
    "the last argument": (lambda n, a: jnp.sum(a[n] * a[0]), (1, W), -1),
    "jit": (lambda x: jax.jit(lambda y: jnp.logaddexp(y[0], y[1]) * y[0])(x), (normal(2),), 0),
    "checkpoint": (lambda x: jax.checkpoint(lambda y: jnp.sin(jnp.prod(y)))(x), (normal(3),), 0),
    "scan": (rnn, (normal(2), normal(4)), (0, 1)),
    "scan, reverse": (backwards, (normal(2),), 0),
    "empty scan": (lambda x: lax.scan(lambda c, y: (c * y, c), x * x, jnp.zeros(0))[0], (1.3,), 0),
    "fori_loop": (lambda x: lax.fori_loop(0, 4, lambda k, c: c * x + k, x), (1.3,), 0),
    "cond": (lambda x: lax.cond(x > 1, jnp.sin, jnp.cos, x) + lax.cond(x > 2, jnp.sin, jnp.cos, x), (1.3,), 0),
    "switch": (lambda x: lax.switch(jnp.int32(x), [jnp.sin, jnp.exp, jnp.tan], x), (1.3,), 0),
    "custom JVP, at its kink": (lambda x: jnp.sum(jax.nn.relu(x) * x[0]), (np.array([2.0, 0.0, -1.0]),), 0),
    "custom VJP": (lambda x: steeper(x) * x, (1.3,), 0),
    "sort": (lambda x: jnp.dot(jnp.sort(x), jnp.arange(1.0, 5)), (normal(4),), 0),
    "gather, scatter": (lambda x: jnp.prod(jnp.zeros(3).at[jnp.array([2, 0, 2])].add(x) + x[1]), (normal(3),), 0),
    "linear algebra": (lambda a: jnp.linalg.slogdet(jnp.linalg.inv(a @ a.T))[1], (W,), 0),
    "constant loop": (lambda x: x * lax.while_loop(lambda c: c < 9, lambda c: 2 * c, 1.0), (1.3,), 0),
    "network": (lambda p, x: nn.losses.cross_entropy(MLP.apply(p, x), jnp.array([1, 0])), (PARAMS, normal(2, 3)), 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jaxprs(name: str) -> None:
    """Both roads on the scalar graph of a function give JAX's gradient and ours."""
    fun, args, argnums = FUNCTIONS[name]
    found = fdl.pathwise(fun, *args, argnums=argnums)
    for due in (jax.grad(fun, argnums)(*args), fdl.grad(fun, argnums)(*args)):
        for way in (found.derivative, found.swept):
            assert jax.tree.structure(way) == jax.tree.structure(due)
            for a, b in zip(jax.tree.leaves(way), jax.tree.leaves(due), strict=True):
                assert a.dtype == np.float64 and a.shape == np.shape(b)
                np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    values = [found.graph.nodes[i].value for i in found.graph.outputs]
    np.testing.assert_allclose(values, [fun(*args)], rtol=1e-13)


def test_golden_case_as_a_program() -> None:
    """The same numbers of paths and multiplications as by hand."""

    def units(x: Any) -> Any:
        u, v = 1.0 * x, 1.0 * x
        for _ in range(4):
            u, v = u * v, u * v
        return u * v

    found = fdl.pathwise(units, 1.1)
    assert (found.paths, found.path_multiplications, found.sweep_multiplications) == (32, 160, 18)
    assert found.derivative == pytest.approx(32 * 1.1**31, rel=1e-13)
    assert str(found) == "\n".join(
        [
            "inputs: 1, nodes: 12, edges: 20",
            "              paths  multiplications",
            "path by path     32              160",
            "   one sweep                      18",
            f"derivatives at most {abs(found.derivative - found.swept):.1e} apart",
        ]
    )


def test_entries_are_nodes() -> None:
    """One node for each entry of each equation, dead units and zero weights without edges; a rule is one step."""
    w = jnp.array([[1.0, 0.0], [-1.0, 2.0]])
    graph = scalar_graph(lambda x: jax.nn.relu(w @ x), jnp.array([2.0, 1.0]))
    assert [node.name for node in graph.nodes] == [
        "x[0]",
        "x[1]",
        *[f"dot_general[{i}]" for i in (0, 1)],
        "relu[0]",
        "relu[1]",
    ]
    assert graph.successors == [{2: 1.0, 3: -1.0}, {3: 2.0}, {4: 1.0}, {}, {}, {}]
    assert graph.inputs == [0, 1] and graph.outputs == [4, 5]
    assert [node.value for node in graph.nodes] == [2.0, 1.0, 2.0, 0.0, 2.0, 0.0]
    assert [node.layer for node in graph.nodes] == [0, 0, 1, 1, 2, 2]


def test_outputs_in_order_with_constants_among_them() -> None:
    graph = scalar_graph(lambda x, n: {"a": x * n, "b": jnp.arange(2.0)}, 3.0, 2)
    assert [graph.nodes[i].value for i in graph.outputs] == [6.0, 0.0, 1.0]
    assert [node.name for node in graph.nodes] == ["x0", "mul", "constant", "constant"]


def test_float32_and_weak_types() -> None:
    found = fdl.pathwise(lambda x: jnp.sum(jnp.sin(x) ** 2), np.float32([0.5, 1.5]))
    np.testing.assert_allclose(found.derivative, np.sin([1.0, 3.0]), rtol=1e-6)


def spin(x: Any) -> Any:
    return lax.while_loop(lambda c: c < 9, lambda c: c * x, x)


def noted(x: Any) -> Any:
    ref = jax.new_ref(jnp.zeros(()))
    ref[...] = x
    return ref[...] * x


REFUSED: dict[str, tuple[Callable[..., Any], Any, type[Exception], str]] = {
    "while": (spin, 2.0, ValueError, r"while in spin at .*test_pathwise.py:\d+ .*cannot be taken apart.*with scan"),
    "ref": (noted, 2.0, ValueError, "operation on a ref"),
    "large": (lambda x: jnp.sum(x @ x), np.ones((40, 40)), ValueError, r"more than most_nodes=2000.*dot_general in"),
    "large argument": (jnp.sum, np.ones((50, 50)), ValueError, r"most_nodes=2000.*argument x alone holds f64\[50,50\]"),
    "complex": (lambda x: jnp.abs(jnp.exp(1j * x)), 2.0, TypeError, r"c128\[\]; a scalar graph is one of real"),
    "complex argument": (jnp.abs, 2.0j, TypeError, r"got c128\[\]; a scalar graph is one of real"),
    "no scalar": (lambda x: x * x, np.ones(3), TypeError, r"output of <lambda> was f64\[3\]. Reduce it"),
    "two outputs": (lambda x: (x, x), 1.0, TypeError, r"output of <lambda> was PyTreeDef"),
    "an integer": (lambda x: jnp.argmax(x), np.ones(3), TypeError, "pathwise requires real-valued outputs.*int64"),
    "an integer argument": (lambda x: 1.0 * x, 3, TypeError, "pathwise requires real- or complex-valued inputs"),
    "no array": (lambda x: 1.0, "three", TypeError, "pathwise differentiates arrays; an argument holds 'three'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    fun, x, error, match = REFUSED[name]
    with pytest.raises(error, match=match):
        fdl.pathwise(fun, x)


def test_refused_under_a_trace_and_for_paths() -> None:
    with pytest.raises(TypeError, match="traced values.*outside of jit"):
        jax.jit(lambda x: fdl.pathwise(jnp.sin, x).swept)(1.0)
    with pytest.raises(TypeError, match="traced values"):
        jax.jit(lambda x: fdl.pathwise(lambda y: y * x, 1.0).swept)(1.0)

    def deep(x: Any) -> Any:
        u = v = x
        for _ in range(30):
            u, v = u * v, u + v
        return u

    with pytest.raises(ValueError, match=r"found [\d,]+ paths from the arguments of deep.*most_paths=262,144"):
        fdl.pathwise(deep, 0.5)


def test_the_table() -> None:
    """2^depth paths against 4 depth − 2 multiplications; what was not followed is said."""
    table = fdl.pathwise_table()
    assert [row.depth for row in table.rows] == list(range(1, 21))
    for d, number, multiplications, derivative, swept_multiplications, swept in table.rows:
        assert (number, multiplications, swept_multiplications, swept) == (2**d, d * 2**d, 4 * d - 2, 2**d)
        assert derivative == (2**d if d <= 14 else None)
    lines = str(table).splitlines()
    assert len(lines) == 22 and lines[0] == "layers of 2 product units, at x = 1"
    assert lines[6].split() == ["5", "32", "160", "18", "8.9", "32", "32"]
    assert lines[-1].split() == ["20", "1,048,576", "20,971,520", "78", "268,865.6", "(counted", "only)", "1048576"]
    three = fdl.pathwise_table([2, 3], width=3, x=0.9, most_paths=9)
    assert three.rows[0].derivative == pytest.approx(9 * 0.9**8, rel=1e-13) and three.rows[1].derivative is None
    assert three.rows[1].swept == pytest.approx(27 * 0.9**26, rel=1e-13)
    with pytest.raises(ValueError, match="depth 0 and width 2; both are at least 1"):
        fdl.pathwise_table([0])


def test_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    graph = fdl.pathwise(lambda x: jnp.sum(jax.nn.relu(x) * x[0]) + x[1], np.array([2.0, -1.0])).graph
    assert path_picture.picture(graph, tmp_path / "graph.png", "costs $1")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert not path_picture.picture(ScalarGraph(), tmp_path / "none.png", "nothing")
    monkeypatch.setattr(path_picture, "matplotlib_figure", None)
    assert not path_picture.picture(graph, tmp_path / "none.png", "without matplotlib")
    assert not (tmp_path / "none.png").exists()


def test_no_two_things_of_a_picture_share_a_place() -> None:
    """Nodes stand in their layers; an edge past layers runs through places of its own in them."""
    graph = ScalarGraph()
    a = graph.input(1.0)
    b = graph.node(1.0, {a: 1.0})
    c = graph.node(1.0, {b: 1.0})
    d = graph.node(1.0, {a: 2.0, b: 3.0, c: 4.0})
    places, ways, height = path_picture._places(graph)
    assert [x for x, _ in places] == [0.0, 1.0, 2.0, 3.0] and height == 3
    assert ways[a, b] == [places[a], places[b]] and len(ways[a, d]) == 4 and len(ways[b, d]) == 3
    inner = [*places, *[point for way in ways.values() for point in way[1:-1]]]
    assert len(set(inner)) == len(inner)
