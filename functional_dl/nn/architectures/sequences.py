"""Networks that read sequences: recurrent classifiers and GPT."""

from __future__ import annotations

from typing import Any, Literal

import jax

from functional_dl.nn.architectures.between import dropped
from functional_dl.nn.attention import NORMS, Implementation, block
from functional_dl.nn.dense import dense, embedding
from functional_dl.nn.network import Mode, Network, serial
from functional_dl.nn.recurrent import CELLS, recurrent
from functional_dl.nn.recurrent import bidirectional as both_ways
from functional_dl.nn.repetition import repeated

__all__ = ["rnn", "transformer"]


def rnn(
    inputs: int,
    outputs: int,
    width: int = 64,
    cell: Literal["vanilla", "lstm", "gru"] = "gru",
    layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> Network:
    """Recurrent layers over (N, T, inputs), and a dense layer on the last output → (N, outputs).

    Args:
      inputs: entries of an example at each time.
      outputs: entries of what is made of it.
      width: of the state, in each direction.
      cell: ``"vanilla"``, ``"lstm"`` or ``"gru"``.
      layers: how many, each reading the outputs of the one below.
      bidirectional: whether each layer reads in both directions, so that its outputs are twice as wide.
      dropout: the share of a layer's outputs dropped in training on their way up, not on their way through time
        (Zaremba, Sutskever & Vinyals 2014).

    Raises:
      ValueError: an unknown cell, or no layer.
    """
    if cell not in CELLS:
        raise ValueError(f"rnn: unknown cell {cell!r}; known: {', '.join(CELLS)}.")
    if layers < 1:
        raise ValueError(f"rnn: layers = {layers}; due is a positive number.")
    run, wide = (both_ways, 2 * width) if bidirectional else (recurrent, width)
    parts: dict[str, Network] = {}
    for i in range(layers):
        suffix = f"_{i}" if layers > 1 else ""
        parts[f"recurrent{suffix}"] = run(CELLS[cell](inputs if i == 0 else wide, width), sequence=i < layers - 1)
        parts |= dropped(f"dropout{suffix}", dropout)
    return serial(**parts, head=dense(wide, outputs))


def transformer(
    vocabulary: int,
    context: int,
    width: int = 128,
    heads: int = 4,
    depth: int = 4,
    scanned: bool = False,
    kv_heads: int | None = None,
    positions: Literal["learned", "rotary"] = "learned",
    norm: Literal["layer", "rms"] = "layer",
    feedforward: Literal["gelu", "swiglu"] = "gelu",
    dropout: float = 0.0,
    implementation: Implementation | None = None,
) -> Network:
    """A GPT (Radford et al. 2019): ids (B, T ≤ context) → logits (B, T, vocabulary); the embedding is also the head.

    Args:
      vocabulary: how many ids there are.
      context: the most tokens it takes.
      width: of the embedding.
      heads: of queries in each block.
      depth: how many blocks.
      scanned: stack the blocks' parameters and run them by `lax.scan`: one block to compile.
      kv_heads: heads of keys and values (Ainslie et al. 2023); None: as many as there are heads.
      positions: a table added to the embedding, or rotary ones in each block's attention (Su et al. 2021).
      norm: layer norm (Ba, Kiros & Hinton 2016) or RMS norm (Zhang & Sennrich 2019).
      feedforward: ``"gelu"`` or ``"swiglu"`` (Shazeer 2020), as in `functional_dl.nn.attention.block`.
      dropout: the share dropped in training from the embedding and from what each part of a block adds.
      implementation: of attention, as in `functional_dl.nn.self_attention`.

    Raises:
      ValueError: sizes that do not go together, an unknown choice; when it is run, more tokens than the context.
    """
    if positions not in ("learned", "rotary"):
        raise ValueError(f"transformer: unknown positions {positions!r}; known: learned, rotary.")
    learned = positions == "learned"
    one = block(width, heads, True, kv_heads, not learned, norm, feedforward, dropout, implementation)
    stack = {"blocks": repeated(one, depth, scanned), "norm": NORMS[norm](width)}
    tables = {"tokens": embedding(vocabulary, width)} | ({"positions": embedding(context, width)} if learned else {})
    parts, body = tables | stack, serial(**dropped("dropout", dropout), **stack)

    def init(key: Any) -> Any:
        keys = jax.random.split(key, len(parts))
        return {name: part.init(k) for (name, part), k in zip(parts.items(), keys, strict=True)}

    def forward(params: Any, state: Any, ids_BT: Any, mode: Mode) -> tuple[Any, Any]:
        tokens = ids_BT.shape[1]
        if tokens > context:
            raise ValueError(f"transformer got {tokens} tokens; its context is {context}.")
        x_BTD = tables["tokens"].apply(params["tokens"], ids_BT)
        if learned:
            x_BTD = x_BTD + params["positions"]["table"][None, :tokens]
        x_BTD, state = body.forward(params, state, x_BTD, mode)
        return x_BTD @ params["tokens"]["table"].T, state

    return Network(init, forward, body.state, body.random)
