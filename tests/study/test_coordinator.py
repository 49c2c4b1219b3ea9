"""The coordinator among workers that die when they like: every task once, nobody forgotten."""

import collections
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_tf.errors import ArgumentError, RunError
from ft_tf.study.executors.coordinator import ATTEMPTS, run_tasks


class Worker:
    def __init__(self, pool):
        self.pool = pool
        self.task = None
        self.ready = False

    def begin(self, task, *, again):
        assert self.ready and self.task is None
        assert again == (self.pool.begun[task] > 0)
        self.pool.begun[task] += 1
        self.task = task


class UnreliablePool:
    """Workers that answer in any order and die at any time: as `chances`, numbers in [0, 1)."""

    def __init__(self, size, chances, *, dying=0.3, fatal=()):
        self.size = size
        self.chances = iter(chances)
        self.dying = dying
        self.fatal = set(fatal)
        self.alive = []
        self.begun = collections.Counter()
        self.most = 0
        self.closed = False

    def add(self):
        self.alive.append(Worker(self))
        self.most = max(self.most, len(self.alive))

    def receive(self):
        assert self.alive, "nobody is left to wait for"
        worker = self.alive[int(next(self.chances) * len(self.alive))]
        dies = next(self.chances) < self.dying or worker.task in self.fatal
        if dies:
            self.alive.remove(worker)
            return [(worker, "lost", "signal 9")]
        if not worker.ready:
            worker.ready = True
            return [(worker, "ready", None)]
        if worker.task is None:
            return []
        if next(self.chances) < 0.3:
            return [(worker, "share", 0.5)]
        task, worker.task = worker.task, None
        return [(worker, "result", -task)]

    def close(self):
        self.closed = True


@settings(deadline=None, max_examples=300)
@given(
    size=st.integers(1, 4),
    count=st.integers(0, 7),
    fatal=st.sets(st.integers(0, 6), max_size=1),
    seed=st.randoms(use_true_random=False),
)
def test_every_task_is_done_once_or_given_up_after_its_last_attempt(size, count, fatal, seed):
    pool = UnreliablePool(size, iter(seed.random, None), dying=0.15, fatal=fatal)
    tasks = list(range(count))
    events = []
    try:
        for event in run_tasks(pool, tasks):
            events.append(event)
            assert len(pool.alive) <= size
    except RunError as error:
        assert "die before they can begin" in str(error)
        return
    finally:
        assert pool.closed
    ends = collections.Counter(e.task for e in events if e.kind in ("done", "given up"))
    assert ends == collections.Counter(tasks)
    for event in events:
        if event.kind == "done":
            assert event.value == -event.task
            assert event.task not in fatal
        if event.kind == "given up":
            assert pool.begun[event.task] == ATTEMPTS
    lost = collections.Counter(e.task for e in events if e.kind in ("lost", "given up"))
    done = collections.Counter(e.task for e in events if e.kind == "done")
    assert pool.begun == lost + done


def test_tasks_are_begun_in_order():
    pool = UnreliablePool(2, itertools.cycle([0.0, 0.9, 0.9, 0.6, 0.9, 0.9]), dying=0.0)
    begun = [event.task for event in run_tasks(pool, range(5)) if event.kind == "begun"]
    assert begun == [0, 1, 2, 3, 4]
    assert pool.most == 2


def test_workers_that_cannot_start_end_it():
    pool = UnreliablePool(2, itertools.repeat(0.0), dying=1.0)
    with pytest.raises(RunError, match="workers die before they can begin: signal 9"):
        list(run_tasks(pool, range(5)))
    assert pool.closed


class Refusing(UnreliablePool):
    def receive(self):
        [(worker, kind, value)] = super().receive()
        if kind == "result":
            return [(worker, "error", ArgumentError("epochs=0 must be an integer >= 1"))]
        return [(worker, kind, value)]


def test_an_error_of_a_task_ends_it_with_that_error():
    pool = Refusing(1, itertools.repeat(0.9), dying=0.0)
    with pytest.raises(ArgumentError, match="epochs=0"):
        list(run_tasks(pool, range(3)))
    assert pool.closed
    assert pool.begun == {0: 1}


def test_leaving_early_ends_the_workers():
    pool = UnreliablePool(1, itertools.repeat(0.9), dying=0.0)
    events = run_tasks(pool, range(3))
    next(events)
    assert not pool.closed
    events.close()
    assert pool.closed
