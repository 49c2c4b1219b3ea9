"""Tasks on workers that die at random: each is done once, none is forgotten."""

import collections
import itertools
import pickle
import traceback
from concurrent import futures

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_tf.errors import ArgumentError, InUseError, RunError
from ft_tf.executors import tasks as tasks_module
from ft_tf.executors.tasks import ATTEMPTS, perform, run_tasks


class Lost(Exception):
    pass


class UnreliablePool:
    """Workers that answer in any order and die at any time: as `chances`, numbers in [0, 1)."""

    def __init__(self, size, chances, *, dying=0.3, fatal=()):
        self.size = size
        self.chances = iter(chances)
        self.dying = dying
        self.fatal = set(fatal)
        self.in_work = {}
        self.begun = set()
        self.submitted = collections.Counter()
        self.most = 0
        self.closed = False

    def submit(self, number, task, *, again):
        assert number == task and number not in self.in_work.values()
        assert again == (self.submitted[task] > 0)
        self.submitted[task] += 1
        future = futures.Future()
        self.in_work[future] = task
        self.most = max(self.most, len(self.in_work))
        return future

    def shares(self):
        """One worker does something: its task begins, ends, or dies with it."""
        pending = [future for future in self.in_work if not future.done()]
        if pending:
            future = pending[int(next(self.chances) * len(pending))]
            task = self.in_work[future]
            if next(self.chances) < self.dying or (task in self.fatal and task in self.begun):
                future.set_exception(Lost())
            elif task not in self.begun:
                self.begun.add(task)
            else:
                self.finish(future, task)
        return dict.fromkeys(self.begun, 0.5)

    def finish(self, future, task):
        future.set_result(-task)

    def loss(self, ended):
        self.begun.discard(self.in_work.pop(ended))
        return "signal 9" if isinstance(ended.exception(), Lost) else None

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True, scope="module")
def impatient():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks_module, "_POLL_SECONDS", 0.0)
        patch.setattr(tasks_module, "_PAUSE", 0.0)
        yield


def run(pool, count, **options):
    return run_tasks(pool, range(count), names=[f"task {n}" for n in range(count)], **options)


@settings(deadline=None, max_examples=300)
@given(
    size=st.integers(1, 4),
    count=st.integers(0, 7),
    fatal=st.sets(st.integers(0, 6), max_size=1),
    seed=st.randoms(use_true_random=False),
)
def test_every_task_is_done_once_or_given_up_after_its_last_attempt(size, count, fatal, seed):
    pool = UnreliablePool(size, iter(seed.random, None), dying=0.15, fatal=fatal)
    done, notes, heard = collections.Counter(), [], []
    given_up = ""
    try:
        options = {"report": lambda number, share: heard.append(number), "note": notes.append}
        for number, result in run(pool, count, keep_going=True, **options):
            assert result == -number and number not in fatal
            done[number] += 1
    except RunError as error:
        given_up = str(error)
    assert pool.closed and pool.most <= size
    assert set(done.values()) <= {1}
    lost = [number for number in range(count) if f"task {number} (signal 9)" in given_up]
    if heard or not given_up:  # otherwise no worker could start
        assert sorted([*done, *lost]) == list(range(count))
    for number in range(count):
        again = sum(f"task {number}: its worker was lost (signal 9)" in note for note in notes)
        assert pool.submitted[number] in (0, again + 1)
        if number in lost:
            assert pool.submitted[number] == ATTEMPTS


def test_tasks_are_submitted_in_order():
    pool = UnreliablePool(2, itertools.cycle([0.0, 0.9, 0.9, 0.6]), dying=0.0)
    assert len(list(run(pool, 5))) == 5
    assert list(pool.submitted) == [0, 1, 2, 3, 4]
    assert pool.most == 2


def test_workers_that_cannot_start_end_it():
    pool = UnreliablePool(1, itertools.repeat(0.0), dying=1.0)
    with pytest.raises(RunError, match=r"^task 0 \(signal 9\): lost 3 workers"):
        list(run(pool, 5, keep_going=True))
    assert pool.closed
    assert pool.submitted == {0: ATTEMPTS}


class Refusing(UnreliablePool):
    def finish(self, future, task):
        future.set_exception(ArgumentError("epochs=0 must be an integer >= 1"))


def test_an_error_of_a_task_ends_it_with_that_error():
    pool = Refusing(1, itertools.repeat(0.9), dying=0.0)
    with pytest.raises(ArgumentError, match="epochs=0"):
        list(run(pool, 3, keep_going=True))
    assert pool.closed
    assert pool.submitted == {0: 1}


def test_leaving_early_ends_the_workers():
    pool = UnreliablePool(1, itertools.repeat(0.9), dying=0.0)
    results = run(pool, 3)
    next(results)
    assert not pool.closed
    results.close()
    assert pool.closed


class Strange(Exception):
    def __init__(self, first, second):
        super().__init__(first)


@pytest.mark.parametrize("error", [ZeroDivisionError("by 0"), Strange("by 0", 2)])
def test_an_unforeseen_error_can_be_pickled_and_has_its_traceback(error):
    def task(report):
        raise error

    with pytest.raises(RuntimeError) as raised:
        perform(task, float, again=False)
    text = "".join(traceback.format_exception(pickle.loads(pickle.dumps(raised.value))))
    assert "by 0" in text
    assert "in task" in text


def test_a_task_given_again_waits_for_a_lock_that_its_lost_worker_held():
    calls = []

    def task(report):
        calls.append(None)
        if len(calls) < 3:
            raise InUseError("in use")
        return "done"

    assert perform(task, float, again=True) == "done"
    calls.clear()
    with pytest.raises(InUseError):
        perform(task, float, again=False)
    assert len(calls) == 1
