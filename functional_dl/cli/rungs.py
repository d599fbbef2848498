"""A search as it goes on: a table that lives on a terminal, and lines in a file."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from functional_dl.strategies.space import Space
from functional_dl.strategies.strategy import Result, ranked
from functional_dl.tuning.results import short_names, shown, shown_value
from functional_dl.tuning.search import Progress
from functional_dl.tuning.trials import Line, Trials

__all__ = ["RungTable"]

# Of the rounds of a long search, and of its members, so many are shown.
ROUNDS, MEMBERS = 10, 5


@dataclass(frozen=True)
class _Row:
    """A round: its number, how many members, until which steps, what came of it, how much it took."""

    number: int
    members: int
    until: str
    member_steps: int
    finals: bool
    best: float | None = None
    median: float | None = None
    seconds: float | None = None


class RungTable:
    """Shows a search's rounds, best members and remaining time while it runs; a context.

    Args:
      console: where; on a terminal the table is drawn again and again, elsewhere each round is two lines.
      trials: the search's, whose results are shown.
      space: the hyperparameters.
      score: the metric members are ranked by, and whether more of it is better.
      steps: of a whole training.
      budget: the member-steps of the strategy.
      finals: how many finalists there are, and how many seeds each is trained with.
    """

    def __init__(
        self,
        console: Console,
        trials: Trials,
        space: Space,
        score: tuple[str, bool],
        steps: int,
        budget: int,
        finals: tuple[int, int],
    ) -> None:
        self.console, self._trials, self._space = console, trials, space
        self._metric, self._more = score
        self._steps, self._budget, self._finals = steps, budget, finals
        self._rows: list[_Row] = []
        self._now: _Row | None = None
        self._began = self._since = time.monotonic()
        self._done = 0
        self._stopping = False
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> RungTable:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._now = None
        self._live.stop()

    # --- what happens -------------------------------------------------------------------------------------------------

    def report(self, progress: Progress) -> None:
        """A round begins or ends."""
        if progress.metrics is None:
            if self._now is None and not self._rows:
                self._rows = _rows(self._trials.lines, self._score)
            row = _Row(
                progress.round, len(progress.due), _span(progress.due.values()),
                sum(progress.due[i] - progress.made[i] for i in progress.due), progress.finals,
            )  # fmt: skip
            self._since, self._now, self._done = time.monotonic(), row, progress.member_steps
            self._say(f"{self._name(row)}: {_people(row)} to step {row.until}" + self._hint())
            return
        assert self._now is not None
        best, median = _best_and_median([self._score(m) for m in progress.metrics.values()], self._more)
        row = replace(self._now, best=best, median=median, seconds=time.monotonic() - self._since)
        self._rows.append(row)
        self._now, self._done, self._since = None, progress.member_steps, time.monotonic()
        self._say(
            f"{self._name(row)}: best {self._metric} {self._shown(best)}, median {self._shown(median)}; "
            f"{_clock(row.seconds)}, {self._done:,} of {self._total:,} member-steps{self._left(', {} left')}"
        )

    def stopping(self) -> None:
        """A stop was asked for; called from another thread."""
        self._stopping = True
        self._say("stopping when this round is saved; once more stops at once")

    def leave(self) -> None:
        """The process is about to end as it is: give the terminal back."""
        self._live.stop()

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(text, soft_wrap=True)

    def _hint(self) -> str:
        return "" if any(row.seconds is not None for row in self._rows) else "; first its program is compiled"

    def _name(self, row: _Row) -> str:
        return "finalists" if row.finals else f"round {row.number + 1}"

    def _score(self, metrics: Mapping[str, float]) -> float:
        return math.nan if math.isnan(metrics["score"]) or math.isnan(metrics["loss"]) else metrics[self._metric]

    def _shown(self, value: float | None) -> str:
        return "" if value is None else shown(self._metric, value)

    def _table(self) -> RenderableType:
        rows = Table("", "members", "until step", f"best {self._metric}", "median", "member-steps", "time")
        for column in rows.columns[1:]:
            column.justify = "right"
        for row in self._rows[-ROUNDS:]:
            took = "" if row.seconds is None else _clock(row.seconds)
            rows.add_row(
                self._name(row), str(row.members), row.until, self._shown(row.best), self._shown(row.median),
                f"{row.member_steps:,}", took,
            )  # fmt: skip
        if (now := self._now) is not None:
            spent, due = time.monotonic() - self._since, self._expected(now.member_steps)
            took = _clock(spent) + ("" if due is None else f" of ≈ {_clock(due)}")
            what = f"[bold]{self._name(now)}[/]"
            state = "compiling, training" if due is None else "training"
            rows.add_row(what, str(now.members), now.until, f"[italic]{state}[/]", "", f"{now.member_steps:,}", took)
        parts: list[RenderableType] = [rows]
        if best := _standing(self._trials.lines):
            parts.append(self._best(best[:MEMBERS]))
        parts.append(Text(
            f"{self._done:,} of {self._total:,} member-steps, {_clock(time.monotonic() - self._began)}"
            + self._left(", {} left")
        ))  # fmt: skip
        if self._stopping:
            parts.append(Text("stopping when this round is saved; once more stops at once", style="bold"))
        return Group(*parts)

    def _best(self, lines: Sequence[Line]) -> Table:
        names = short_names(self._space)
        table = Table("member", "step", self._metric, *names.values(), title="best so far", title_justify="left")
        for column in table.columns:
            column.justify = "right"
        for line in lines:
            values = (shown_value(line.values[key]) for key in names)
            table.add_row(str(line.member), f"{line.steps:,}", self._shown(self._score(line.metrics)), *values)
        return table

    # --- how long it will take ----------------------------------------------------------------------------------------

    @property
    def _total(self) -> int:
        """Member-steps of the whole search, as far as they are known: of finalists, what they are short of the end."""
        count, seeds = self._finals
        if self._rows and self._rows[-1].finals:
            return self._done
        if self._now is not None and self._now.finals:
            return self._done + self._now.member_steps
        made = sorted(line.steps for line in _standing(self._trials.lines))[-count:]
        return max(self._budget, self._done) + max(count * seeds * self._steps - sum(made or [self._steps]), 0)

    def _expected(self, member_steps: int) -> float | None:
        """The seconds that so many member-steps take, by those before; the first round also compiled."""
        timed = [row for row in self._rows if row.seconds is not None]
        timed = timed[1:] or timed
        made = sum(row.member_steps for row in timed)
        return member_steps * sum(row.seconds or 0.0 for row in timed) / made if made else None

    def _left(self, form: str) -> str:
        due = self._expected(self._total - self._done)
        if due is None:
            return ""
        if self._now is not None:
            due -= min(time.monotonic() - self._since, self._expected(self._now.member_steps) or 0.0)
        # The first round's time is that of compiling, too.
        under = "" if sum(row.seconds is not None for row in self._rows) > 1 else "less than "
        return form.format(under + _clock(due)) if due > 0 else ""


def _rows(lines: Sequence[Line], score: Any) -> list[_Row]:
    """The rounds of a search that goes on, as they were written down."""
    made: dict[int, int] = {}
    rows = []
    for number, group in groupby(lines, key=lambda line: line.round):
        own = list(group)
        steps = sum(line.steps - made.get(line.member, 0) for line in own)
        made.update({line.member: line.steps for line in own})
        finals = any(line.replicate_of is not None for line in own)
        best = min(own, key=lambda line: math.inf if math.isnan(score(line.metrics)) else line.metrics["score"])
        known = [x for line in own if not math.isnan(x := score(line.metrics))]
        rows.append(_Row(
            number, len(own), _span([line.steps for line in own]), steps, finals, score(best.metrics),
            statistics.median(known) if known else math.nan,
        ))  # fmt: skip
    return rows


def _standing(lines: Sequence[Line]) -> list[Line]:
    """The last results of members, best first, as the strategies' ``standing`` has it; finalists' repeats left out."""
    last = {line.member: line for line in lines if line.replicate_of is None}
    results = {i: Result(line.metrics["score"], line.metrics["loss"]) for i, line in last.items()}
    lost = {i for i, x in results.items() if math.isnan(x.loss) or not x.score < math.inf}
    return [last[i] for i in sorted(ranked(results), key=lambda i: (i in lost, -last[i].steps))]


def _best_and_median(scores: Sequence[float], more: bool) -> tuple[float, float]:
    known = [x for x in scores if not math.isnan(x)]
    return (max(known) if more else min(known), statistics.median(known)) if known else (math.nan, math.nan)


def _span(steps: Collection[int]) -> str:
    low, high = min(steps), max(steps)
    return f"{high:,}" if low == high else f"{low:,}–{high:,}"


def _people(row: _Row) -> str:
    return f"{row.members} trainings" if row.finals else f"{row.members} members" if row.members > 1 else "1 member"


def _clock(seconds: float | None) -> str:
    """A duration, such as 0:07 or 1:02:33."""
    minutes, rest = divmod(round(seconds or 0.0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
