"""Strategies: schedules worked out by hand, and one contract for all of them."""

import hashlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functional_dl.strategies.asha import Asha
from functional_dl.strategies.coarse_to_fine import CoarseToFine
from functional_dl.strategies.grid import Grid
from functional_dl.strategies.halving import Halving
from functional_dl.strategies.hyperband import Hyperband
from functional_dl.strategies.median import MedianStopping
from functional_dl.strategies.named import STRATEGIES
from functional_dl.strategies.sampling import Random
from functional_dl.strategies.space import choice, draw, grid, integer, log_uniform, uniform
from functional_dl.strategies.strategy import Job, Result, Round, diverged, ranked

NAN, INF = math.nan, math.inf
SPACE = {"rate": log_uniform(1e-4, 1.0), "depth": integer(1, 4), "kind": choice("relu", "tanh")}


def play(run, score):
    """A whole run, with ``score(member, steps)`` for results: [(round, needed afterwards)]."""
    played = []
    while (asked := run.ask()) is not None:
        run.tell({job.member: Result(found := score(job.member, job.start + asked.steps), found) for job in asked.jobs})
        played.append((asked, run.needed()))
        assert len(played) < 10_000
    return played


def jobs(asked):
    return {job.member: job.start for job in asked.jobs}


def made(played):
    return sum(len(asked.jobs) * asked.steps for asked, _ in played)


# Ranking.


def test_ranked():
    results = {0: Result(2, 0), 1: Result(1, 5), 2: Result(1, 4), 3: Result(NAN, 0), 4: Result(INF, 0),
               5: Result(0, NAN), 6: Result(NAN, NAN), 7: Result(1, 4), 8: Result(-INF, 1)}  # fmt: skip
    assert ranked(results) == [8, 2, 7, 1, 0, 4, 5, 3, 6]
    assert ranked(dict(reversed(results.items()))) == [8, 2, 7, 1, 0, 4, 5, 3, 6]


def test_standing():
    run = Halving(members=9, least=1).start(SPACE, 0, 9)
    # 0 wins the first rung and 1 the second; on the third there is one alone, and it comes to nothing.
    scores = {**{(i, 1): float(i) for i in range(9)}, (0, 3): 3.0, (1, 3): 2.0, (2, 3): INF, (1, 9): NAN}
    played = play(run, lambda *at: scores[at])
    assert [jobs(asked) for asked, _ in played] == [dict.fromkeys(range(9), 0), {0: 1, 1: 1, 2: 1}, {1: 3}]
    standing = run.standing()
    assert [(member, steps) for member, steps, _ in standing] == [
        (0, 3), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (1, 9), (2, 3),
    ]  # fmt: skip
    assert standing[0] == (0, 3, Result(3.0, 3.0)) and run.finished == {1}


# Full trainings.


def test_grid():
    run = Grid(points=3).start(SPACE, 0, 10)
    assert run.members == run.capacity == 3 * 3 * 2
    assert [run.values(i) for i in range(18)] == grid(SPACE, 3)
    ((asked, needed),) = play(run, lambda member, steps: -member)
    assert asked == Round(tuple(Job(i, 0) for i in range(18)), 10) and needed == set()
    assert run.standing()[0] == (17, 10, Result(-17, -17))
    assert Grid(3).budget(10, SPACE) == 180
    with pytest.raises(ValueError, match="depends on the space"):
        Grid(3).budget(10)


def test_random():
    run = Random(5).start(SPACE, 3, 10)
    assert [run.values(i) for i in range(5)] == [draw(SPACE, 3, i) for i in range(5)]
    assert [asked for asked, _ in play(run, lambda *_: 1.0)] == [Round(tuple(Job(i, 0) for i in range(5)), 10)]
    with pytest.raises(ValueError, match="no member 5; due is one from 0 to 4"):
        run.values(5)


def test_coarse_to_fine():
    space = {"x": uniform(0, 1), "kind": choice("a", "b")}
    run = CoarseToFine(members=40, rounds=3, best=3, share=0.2).start(space, 0, 10)
    assert run.values(39) == draw(space, 0, 39)
    with pytest.raises(ValueError, match="Member 40 .* when round 0 is over"):
        run.values(40)

    def score(member, _):
        values = run.values(member)
        return NAN if member < 5 else abs(values["x"] - 0.7) + (values["kind"] == "a")

    played = play(run, score)
    assert [list(jobs(asked)) for asked, _ in played] == [list(range(40)), list(range(40, 80)), list(range(80, 120))]
    xs = [[run.values(40 * r + i)["x"] for i in range(40)] for r in range(3)]
    best = sorted(sorted(range(5, 40), key=lambda i: score(i, 10))[:3], key=lambda i: run.values(i)["x"])[1]
    center = run.values(best)["x"]
    assert all(center - 0.1 <= x <= center + 0.1 for x in xs[1]) and max(xs[1]) - min(xs[1]) > 0.15
    assert max(xs[2]) - min(xs[2]) <= 0.04 and max(xs[2]) < 0.75 and min(xs[2]) > 0.65
    assert {run.values(i)["kind"] for i in range(40, 120)} == {"b"}


def test_coarse_to_fine_where_all_diverge():
    run = CoarseToFine(members=4, rounds=2).start(SPACE, 0, 10)
    play(run, lambda *_: NAN)
    assert [run.values(i) for i in range(8)] == [draw(SPACE, 0, i) for i in range(8)]


# Successive halving and Hyperband.


@pytest.mark.parametrize(("strategy", "steps", "rungs", "budget"), [
    # 81·1 + 27·2 + 9·6 + 3·18 + 1·54
    (Halving(81), 81, [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)], 297),
    # 100/9 = 11.1 and 100/3 = 33.3; ⌊20/3⌋ = 6, ⌊20/9⌋ = 2: 20·11 + 6·22 + 2·67
    (Halving(20), 100, [(20, 11), (6, 33), (2, 100)], 486),
    # 100/20 = 5 leaves room for one division by 3: 20·33 + 6·67
    (Halving(20, least=20), 100, [(20, 33), (6, 100)], 1062),
    (Halving(20, least=12), 100, [(20, 33), (6, 100)], 1062),
    (Halving(20, least=11), 100, [(20, 11), (6, 33), (2, 100)], 486),
    (Halving(20, least=100), 100, [(20, 100)], 2000),
    # 5/4 = 1.25 and 5/2 = 2.5: 4·1 + 2·2 + 1·2
    (Halving(4, eta=2), 5, [(4, 1), (2, 3), (1, 5)], 10),
    (Halving(1000), 5, [(1000, 2), (333, 5)], 2999),
    (Halving(10), 2, [(10, 2)], 20),
    (Halving(2), 100, [(2, 100)], 200),
    (Halving(1), 1, [(1, 1)], 1),
    (Halving(243), 243, [(243, 1), (81, 3), (27, 9), (9, 27), (3, 81), (1, 243)], 243 + 5 * 162),
])  # fmt: skip
def test_halving_schedules(strategy, steps, rungs, budget):
    assert [tuple(rung) for rung in strategy.rungs(steps)] == rungs
    assert strategy.budget(steps) == budget
    played = play(strategy.start(SPACE, 0, steps), lambda member, _: member)
    assert [(len(asked.jobs), asked.jobs[0].start + asked.steps) for asked, _ in played] == rungs
    assert [asked.keep for asked, _ in played] == [n for n, _ in rungs[1:]] + [None]


def test_halving_by_hand():
    # Members 2 and 0 lead the first rung with the higher loss deciding a tie against 4; then 0 overtakes 2.
    run = Halving(members=6, eta=3).start(SPACE, 0, 30)
    assert run.ask() == Round(tuple(Job(i, 0) for i in range(6)), 10, keep=2)
    run.tell({0: Result(0.3, 1.0), 1: Result(NAN, NAN), 2: Result(0.1, 9.0), 3: Result(0.9, 0.1), 4: Result(0.3, 1.1),
              5: Result(0.2, NAN)})  # fmt: skip
    assert run.needed() == {0, 2}
    assert run.ask() == Round((Job(2, 10), Job(0, 10)), 20)
    run.tell({0: Result(0.05, 1.0), 2: Result(0.1, 1.0)})
    assert run.ask() is None and run.needed() == set() and run.finished == {0, 2}
    assert [member for member, _, _ in run.standing()] == [0, 2, 4, 3, 5, 1]


# Li et al. (2018), table 1: R = 81, η = 3; (n_i, r_i) of each bracket, and what members that go on cost.
PAPER = [
    ([(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)], 297),  # as above
    ([(34, 3), (11, 9), (3, 27), (1, 81)], 276),  # 34·3 + 11·6 + 3·18 + 1·54
    ([(15, 9), (5, 27), (1, 81)], 279),  # 15·9 + 5·18 + 1·54
    ([(8, 27), (2, 81)], 324),  # 8·27 + 2·54
    ([(5, 81)], 405),
]


@pytest.mark.parametrize("strategy", [Hyperband(eta=3, least=1), Hyperband()], ids=repr)
def test_hyperband_table(strategy):
    assert [[tuple(rung) for rung in one] for one in strategy.brackets(81)] == [rungs for rungs, _ in PAPER]
    assert strategy.budget(81) == sum(cost for _, cost in PAPER) == 1581
    run = strategy.start(SPACE, 0, 81)
    assert (run.members, run.capacity) == (143, 81)
    played = play(run, lambda member, _: -member)
    assert [(len(asked.jobs), asked.jobs[0].start + asked.steps) for asked, _ in played] == [
        rung for rungs, _ in PAPER for rung in rungs
    ]
    # The best are the highest numbers of each bracket.
    assert jobs(played[3][0]) == {80: 9, 79: 9, 78: 9}
    assert [set(jobs(asked)) for asked, _ in played if asked.jobs[0].start == 0] == [
        set(range(81)), set(range(81, 115)), set(range(115, 130)), set(range(130, 138)), set(range(138, 143)),
    ]  # fmt: skip
    assert len(run.finished) == 1 + 1 + 1 + 2 + 5 and run.standing()[0][0] == 142


@pytest.mark.parametrize(("strategy", "steps", "sizes"), [
    (Hyperband(eta=2, least=1), 8, [8, 6, 4, 4]),  # 2³; ⌈4/3 · 4⌉; ⌈4/2 · 2⌉; 4
    (Hyperband(least=10), 100, [9, 5, 3]),  # s_max = 2: 9; ⌈3/2 · 3⌉; 3
    (Hyperband(), 10_000, [81, 34, 15, 8, 5]),  # 10 000/81 = 123 steps, not one
    (Hyperband(), 2, [1]),
    (Hyperband(), 3, [3, 2]),
])  # fmt: skip
def test_hyperband_sizes(strategy, steps, sizes):
    assert [one[0].members for one in strategy.brackets(steps)] == sizes
    assert all(one[-1].steps == steps for one in strategy.brackets(steps))
    assert all(strategy.least is None or one[0].steps >= strategy.least for one in strategy.brackets(steps))


# ASHA.


def test_asha_by_hand():
    scores = [5, 3, 8, 1, 4, 2, 9, 7, 6]
    run = Asha(members=9, places=2, eta=3).start(SPACE, 0, 9)
    assert run.targets == [1, 3, 9]
    assert [(jobs(asked), asked.steps, needed) for asked, needed in play(run, lambda member, _: scores[member])] == [
        # Until three members have come to the first rung, nobody is among its best third; all that could be are kept.
        ({0: 0, 1: 0}, 1, {0, 1}),
        # 3 leads 1, 0, 2; of nine members three will be promoted at most, which is too few for 2.
        ({2: 0, 3: 0}, 1, {3, 1, 0}),
        # 3 has gone on and is half way; 4 pushes 0 out of the first three.
        ({3: 1, 4: 0}, 1, {3, 1, 4}),
        # 5 is second of six and so promoted next; 3 waits in the second rung, alone.
        ({3: 2, 5: 0}, 1, {3, 5, 1}),
        ({5: 1, 6: 0}, 1, {3, 5, 1}),
        # 5 comes to the second rung: two there, and three at most if 1 follows; 3 is the one that will go on.
        ({5: 2, 7: 0}, 1, {3, 1}),
        # One new member is left: the other place stays empty.
        ({8: 0}, 1, {3, 1}),
        # All nine have come, so the best three go on: 1 too.
        ({1: 1}, 2, {3}),
        ({3: 3}, 6, set()),
    ]
    assert run.finished == {3} and [member for member, _, _ in run.standing()] == [3, 5, 1, 4, 0, 8, 7, 2, 6]


def test_asha_passes_diverged_members_on():
    # Of seven members, only the last can be trained. A third of six NaNs would be promoted: without a step.
    run = Asha(members=9, places=3, eta=3).start(SPACE, 0, 9)
    played = play(run, lambda member, _: 1.0 if member == 8 else NAN)
    assert [jobs(asked) for asked, _ in played] == [
        {0: 0, 1: 0, 2: 0}, {3: 0, 4: 0, 5: 0}, {6: 0, 7: 0, 8: 0}, {8: 1}, {8: 3},
    ]  # fmt: skip
    assert [needed for _, needed in played] == [set(), set(), {8}, {8}, set()]
    assert run.finished == {8}


def one_place(members, targets, eta, score):
    """Algorithm 2 as it is printed, for a single worker: who trains to what."""
    rungs, gone, begun = [[] for _ in targets], [set() for _ in targets], 0
    while True:
        job = None
        for k in range(len(targets) - 2, -1, -1):
            best = sorted(rungs[k])[: len(rungs[k]) // eta]
            promotable = [member for _, member in best if member not in gone[k]]
            if promotable:
                gone[k].add(promotable[0])
                job = promotable[0], k + 1
                break
        if job is None:
            if begun == members:
                return
            job = begun, 0
            begun += 1
        member, k = job
        yield member, targets[k]
        rungs[k].append((score(member, targets[k]), member))


@given(st.integers(1, 40), st.integers(2, 4), st.integers(1, 100), st.integers(0, 10**6))
@settings(deadline=None)
def test_asha_with_one_place_is_the_printed_algorithm(members, eta, steps, salt):
    strategy = Asha(members, places=1, eta=eta)
    score = scored(salt, strange=False)
    played = play(strategy.start(SPACE, 0, steps), score)
    assert [(member, start + asked.steps) for asked, _ in played for member, start in jobs(asked).items()] == list(
        one_place(members, strategy.targets(steps), eta, score)
    )


@pytest.mark.parametrize("strategy", [Asha(9, 1), Asha(30, 1), Asha(30, 1, eta=2), Asha(2, 1)], ids=repr)
def test_asha_budget_is_reached(strategy):
    # Each newcomer is better than all before: whoever comes is promoted, but for the first η − 1.
    assert made(play(strategy.start(SPACE, 0, 100), lambda member, _: -member)) == strategy.budget(100)


def test_asha_budget_by_hand():
    # 9, then 9 − 2 promoted, then 7 − 2: 9·1 + 7·2 + 5·6
    assert Asha(9, 2).budget(9) == 53


# Median stopping.


def test_median_by_hand():
    scores = {2: [1.0, 2.0, 3.0, 4.0], 4: [5.0, 1.5], 5: [9.0, 9.0]}
    run = MedianStopping(members=4, every=2).start(SPACE, 0, 5)
    # After 2 steps: 2 against the median of 1, 2, 4 is 3 > 2, and 3's 4 > 2; 0 and 1 are no worse than 3.
    # After 4: 0's best is 1, though its mean is 3, and 1's 1.5 is better than that.
    assert [(jobs(asked), asked.steps, needed) for asked, needed in play(run, lambda i, at: scores[at][i])] == [
        (dict.fromkeys(range(4), 0), 2, {0, 1}),
        ({0: 2, 1: 2}, 2, {0, 1}),
        ({0: 4, 1: 4}, 1, set()),
    ]
    assert run.finished == {0, 1}


def test_median_is_of_running_averages_after_the_grace():
    scores = {1: [1.0, 5.0, 2.0], 2: [4.0, 3.0, 2.0], 3: [4.0, 0.0, 10.0]}
    run = MedianStopping(members=3, every=1, grace=2).start(SPACE, 0, 3)
    # After 1 step nobody is judged, though 1 is the worst. After 2, its best is 3; the others' means are 2.5 and 2,
    # their median 2.25: it is stopped, which the median of their last scores, 3, would not do.
    # After 3, 2 has its worst score, but its best is 2 and the only other's mean is 3.
    assert [(jobs(asked), needed) for asked, needed in play(run, lambda i, at: scores[at][i])] == [
        ({0: 0, 1: 0, 2: 0}, {0, 1, 2}),
        ({0: 1, 1: 1, 2: 1}, {0, 2}),
        ({0: 2, 2: 2}, set()),
    ]


def test_median_of_an_even_number_and_without_oneself():
    # 1 is between the two others: 1.2 < (1.0 + 1.9)/2; 2 is not: 1.9 > (1.0 + 1.2)/2.
    run = MedianStopping(members=3, every=1).start(SPACE, 0, 2)
    assert play(run, lambda member, _: [1.0, 1.2, 1.9][member])[0][1] == {0, 1}
    # 1's best is 2, 0's mean is 1.9; with 1's own mean, 10, the median would be 5.95.
    scores = {1: [2.9, 2.0], 2: [0.9, 18.0]}
    run = MedianStopping(members=2, every=1, grace=2).start(SPACE, 0, 3)
    assert play(run, lambda i, at: scores[at][i] if at < 3 else 0.0)[1][1] == {0}


def test_median_stops_nobody_among_equals_and_the_diverged_at_once():
    run = MedianStopping(members=4, every=1, grace=50).start(SPACE, 0, 100)
    played = play(run, lambda member, steps: NAN if member == 2 and steps > 7 else 0.7)
    assert [len(asked.jobs) for asked, _ in played] == [4] * 8 + [3] * 92
    assert MedianStopping(members=1, every=3).start(SPACE, 0, 10).ask() == Round((Job(0, 0),), 3)
    run = MedianStopping(members=3, every=1).start(SPACE, 0, 9)
    assert len(play(run, lambda *_: NAN)) == 1 and run.finished == set()


# The contract.


def scored(salt, strange=True):
    """Scores that depend on (member, steps) alone, with ties; if strange, members diverge and stay so."""

    def number(*of):
        return int.from_bytes(hashlib.blake2b(repr((salt, *of)).encode(), digest_size=4).digest(), "little")

    def score(member, steps):
        if strange and steps >= number(member) % 150 + 1:
            return NAN
        found = number(member, steps) % 40
        return INF if strange and found == 39 else found / 8

    return score


COUNT = st.integers(1, 30)
ETA = st.integers(2, 5)
STRATEGY = st.one_of(
    st.builds(Grid, st.integers(1, 4)),
    st.builds(Random, COUNT),
    st.builds(CoarseToFine, COUNT, st.integers(1, 4), COUNT, st.sampled_from([0.01, 0.3, 1.0])),
    st.builds(Halving, COUNT | st.just(100), ETA),
    st.builds(Hyperband, ETA, st.sampled_from([None, 1])),
    st.builds(Asha, COUNT | st.just(100), st.integers(1, 12), ETA),
    st.builds(MedianStopping, COUNT, st.integers(1, 40), st.none() | st.integers(0, 40)),
)
BOUNDED = (Asha, MedianStopping)


def test_contract_covers_all():
    assert set(STRATEGIES.values()) == {Grid, Random, CoarseToFine, Halving, Hyperband, Asha, MedianStopping}


@given(STRATEGY, st.integers(1, 100), st.integers(0, 10**6), st.booleans())
@settings(deadline=None, max_examples=300)
def test_contract(strategy, steps, salt, strange):
    score = scored(salt, strange)
    run, again = strategy.start(SPACE, salt, steps), strategy.start(SPACE, salt, steps)
    reached, results, needed, spent = {}, {}, set(), 0
    while (asked := run.ask()) is not None:
        members = [job.member for job in asked.jobs]
        assert asked == run.ask() == again.ask()
        assert run.needed() <= set(reached)
        assert members and len(set(members)) == len(members) and asked.steps >= 1
        assert all(0 <= member < run.members for member in members)
        assert all(reached.get(job.member, 0) == job.start for job in asked.jobs)
        assert all(job.start == 0 or job.member in needed for job in asked.jobs)
        assert len(needed | set(members)) <= run.capacity
        told = {}
        for job in asked.jobs:
            reached[job.member] = job.start + asked.steps
            assert reached[job.member] <= steps
            found = score(job.member, reached[job.member])
            told[job.member] = Result(found, found)
        results.update(told)
        spent += len(members) * asked.steps
        assert [run.values(member) for member in members] == [again.values(member) for member in members]
        run.tell(told)
        again.tell(dict(reversed(told.items())))
        # Whose state was thrown away does not come back.
        assert run.needed() <= needed | set(members)
        assert asked.keep is None or run.needed() == set(ranked(told)[: asked.keep])
        needed = run.needed()
        standing = run.standing()
        assert {member: at for member, at, _ in standing} == reached
        assert str([result for _, _, result in standing]) == str([results[member] for member, _, _ in standing])
        if any(result.score < INF for result in results.values()):
            assert standing[0][2].score < INF and not diverged(standing[0][2])
    assert again.ask() is None and run.needed() == set()
    assert run.finished == {member for member, at in reached.items() if at == steps}
    due = strategy.budget(steps, SPACE)
    assert spent <= due if isinstance(strategy, BOUNDED) else spent == due
    assert isinstance(strategy, BOUNDED) or set(reached) == set(range(run.members))
    assert strange or run.finished


@given(st.integers(1, 60), st.integers(1, 8), ETA, st.integers(0, 10**6))
@settings(deadline=None)
def test_asha_comes_to_an_end(members, places, eta, salt):
    """Everyone starts, and if anyone can be trained, someone is trained in full: with steady scores, the best."""
    score = scored(salt)
    steady = {i: NAN if diverged(Result(score(i, 75), 0)) else score(i, 75) for i in range(members)}
    run = Asha(members, places, eta).start(SPACE, 0, 100)
    play(run, lambda member, _: steady[member])
    assert set(run.reached) == set(range(members))
    best = ranked({i: Result(x, x) for i, x in steady.items()})[0]
    assert math.isnan(steady[best]) or run.standing()[0][:2] == (best, 100)


@pytest.mark.parametrize("strategy", [
    Grid(2), Random(4), CoarseToFine(4), Halving(9), Hyperband(), Asha(9, 2), MedianStopping(4, 2),
])  # fmt: skip
def test_tell_checks(strategy):
    run = strategy.start(SPACE, 0, 27)
    with pytest.raises(ValueError, match="none is out"):
        run.tell({0: Result(0, 0)})
    asked = run.ask()
    with pytest.raises(ValueError, match="due are those of the last round"):
        run.tell({job.member: Result(0, 0) for job in asked.jobs[1:]})
    run.tell({job.member: Result(0, 0) for job in asked.jobs})
    with pytest.raises(ValueError, match="none is out"):
        run.tell({job.member: Result(0, 0) for job in asked.jobs})


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda: Grid(0), "Grid: points is 0; due is a whole number, at least 1"),
    (lambda: Random(0), "Random: members is 0"),
    (lambda: Random(2.5), "Random: members is 2.5"),
    (lambda: Random(True), "Random: members is True"),
    (lambda: CoarseToFine(4, rounds=0), "CoarseToFine: rounds is 0"),
    (lambda: CoarseToFine(4, best=0), "CoarseToFine: best is 0"),
    (lambda: CoarseToFine(4, share=0.0), "CoarseToFine: share is 0.0; due is a number in"),
    (lambda: CoarseToFine(4, share=NAN), "CoarseToFine: share is nan"),
    (lambda: Halving(9, eta=1), "Halving: eta is 1; due is a whole number, at least 2"),
    (lambda: Halving(9, least=0), "Halving: least is 0"),
    (lambda: Halving(9, least=28).budget(27), "Halving: .* 28 steps at least; due is no more than .* 27"),
    (lambda: Asha(9, 2, least=28).start(SPACE, 0, 27), "Asha: .* 28 steps at least"),
    (lambda: Asha(9, 0), "Asha: places is 0"),
    (lambda: Hyperband(least=28).start(SPACE, 0, 27), "Hyperband: .* 28 steps at least; due is no more than .* 27"),
    (lambda: Hyperband(eta=1), "Hyperband: eta is 1"),
    (lambda: MedianStopping(9, every=0), "MedianStopping: every is 0"),
    (lambda: MedianStopping(9, every=1, grace=-1), "MedianStopping: grace is -1"),
    (lambda: Random(3).start(SPACE, 0, 0), "RandomRun: steps is 0"),
])  # fmt: skip
def test_errors(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
