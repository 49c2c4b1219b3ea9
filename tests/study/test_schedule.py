import contextlib
import fcntl
import io
import os
import pty
import struct
import termios

import example_records
import pytest

from ft_tf.executors import progress as progress_module
from ft_tf.executors.progress import Progress
from ft_tf.study.schedule import Job, execute


class Terminal(io.StringIO):
    def isatty(self):
        return True


RECORD = example_records.run(accuracy={"train": 0.5, "test": 0.25, "generalization_error": 0.25})


def job(name, *, done=False, record=None, calls=None, cost=1.0):
    record = record or RECORD

    def work(report):
        if calls is not None:
            calls.append(name)
        report(0.5)
        return record

    return Job(name=name, cost=cost, is_done=lambda: done, execute=work)


def test_jobs_run_in_order_and_say_where_they_are():
    calls, stream = [], io.StringIO()
    found = execute([job("a", calls=calls), job("b", calls=calls)], stream=stream)
    assert calls == ["a", "b"]
    assert len(found) == 2
    text = stream.getvalue()
    assert "[run 1 of 2] a: train 50.00%, test 25.00%" in text
    assert "[run 2 of 2] b" in text
    assert "\r" not in text


def test_a_terminal_gets_one_moving_line():
    stream = Terminal()
    execute([job("a")], stream=stream)
    assert "\r" in stream.getvalue()
    assert "50%" in stream.getvalue()


@pytest.mark.parametrize("columns", [40, 60, 200])
def test_the_bar_fits_the_terminal(columns):
    name = "a_name_as_long_as_those_of_runs" * 3
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(theirs, "w") as stream:
        execute([job(name)], stream=stream)
    text = ""
    with contextlib.suppress(OSError):  # Linux's way to say that the other side is closed
        while part := os.read(ours, 10_000):
            text += part.decode()
    os.close(ours)
    bars = [part for part in text.split("\r") if "%|" in part]
    assert len(bars) >= 2
    assert max(map(len, bars)) < columns
    assert (name in bars[-1]) == (columns == 200)


def test_what_was_done_before_is_said():
    stream = io.StringIO()
    execute([job("a", done=True)], stream=stream)
    assert stream.getvalue().strip().endswith("(done before)")


def test_a_failed_training_does_not_stop_the_rest():
    stream = io.StringIO()
    found = execute([job("a", record=example_records.failed()), job("b")], stream=stream)
    assert [record.status for record in found] == ["failed", "finished"]
    assert "FAILED at epoch 3: loss=nan is not finite" in stream.getvalue()


def test_an_interruption_goes_through():
    def interrupted(report):
        raise KeyboardInterrupt

    jobs = [Job(name="a", cost=1.0, is_done=lambda: False, execute=interrupted), job("b")]
    with pytest.raises(KeyboardInterrupt):
        execute(jobs, stream=io.StringIO())


class Clock:
    """The time of the progress and of tqdm: it moves when a job says so."""

    def __init__(self):
        self.seconds = 1000.0

    def monotonic(self):
        return self.seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    monkeypatch.setattr("tqdm.std.time", clock.monotonic)
    return clock


def long_job(clock, *, begun_at=0.0, minutes):
    """A training of 100 minutes, of which the given ones are done, a share reported at each."""

    def work(report):
        report(begun_at)
        for minute in range(1, minutes + 1):
            clock.seconds += 60.0
            report(begun_at + minute / 100)
        return RECORD

    return Job(name="long", cost=7.0, is_done=lambda: False, execute=work)


def split(line):
    """What a line says before the time left, and that time in minutes."""
    said, _, left = line.partition("  left about ")
    parts = [int(part) for part in left.split(":")]
    seconds = sum(part * 60**power for power, part in enumerate(reversed(parts)))
    return said, round(seconds / 60, 1)


def test_a_log_gets_a_line_every_five_minutes(clock):
    stream = io.StringIO()
    execute([long_job(clock, minutes=12)], stream=stream)
    *middle, last = stream.getvalue().splitlines()
    assert [split(line) for line in middle] == [
        ("[run 1 of 1] long   5%  elapsed 05:00", 95),
        ("[run 1 of 1] long  10%  elapsed 10:00", 90),
    ]
    assert last == "[run 1 of 1] long: train 50.00%, test 25.00%"


def test_a_log_has_one_line_for_a_run_and_one_more_for_one_that_resumes(clock):
    def short_job(number):
        def work(report):
            for share in (0.5 if number == 7 else 0.0, 0.9):
                report(share)
                clock.seconds += 4.0
            return RECORD

        return Job(name=f"job_{number}", cost=1.0, is_done=lambda: False, execute=work)

    stream = io.StringIO()
    execute([short_job(number) for number in range(25)], stream=stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 25 + 1
    assert lines.pop(7).startswith("[run 8 of 25] job_7  50%  elapsed 00:56  left about ")
    for number, line in enumerate(lines):
        assert line == f"[run {number + 1} of 25] job_{number}: train 50.00%, test 25.00%"


def test_what_was_never_heard_of_is_not_counted_as_done_here(clock):
    """A training that was at its end and only had to be evaluated takes two minutes."""

    def evaluation(report):
        clock.seconds += 120.0
        return RECORD

    evaluated = Job(name="evaluated", cost=7.0, is_done=lambda: False, execute=evaluation)
    stream = io.StringIO()
    execute([evaluated, long_job(clock, minutes=5)], stream=stream)
    # Neither its share nor its minutes say anything of the speed.
    line = stream.getvalue().splitlines()[-2]
    assert split(line) == ("[run 2 of 2] long   5%  elapsed 05:00", 95)


def test_the_time_left_of_two_at_once_and_of_one_given_again(clock):
    stream = io.StringIO()
    progress = Progress("ab", [7.0, 7.0], [0, 1], stream=stream)
    for index in (0, 1):
        progress.hear(index, None)
        progress.hear(index, 0.0)
    clock.seconds += 600.0
    progress.hear(0, 0.2)
    clock.seconds += 600.0
    progress.hear(1, 0.2)
    progress.hear(1, 0.1)  # its worker was lost: the last steps are done again
    clock.seconds += 600.0
    progress.hear(1, 0.3)
    lines = stream.getvalue().splitlines()
    assert [split(line) for line in lines] == [
        ("[run 1 of 2] a  20%  elapsed 10:00", 90),
        ("[run 2 of 2] b  20%  elapsed 20:00", 80),
        ("[run 2 of 2] b  30%  elapsed 30:00", 90),
    ]


def test_the_time_left_is_that_of_a_run_that_goes_on(clock):
    stream = io.StringIO()
    jobs = [long_job(clock, begun_at=0.8, minutes=20), long_job(clock, minutes=5)]
    execute(jobs, stream=stream)
    lines = stream.getvalue().splitlines()
    # 20 minutes of the first and 100 of the second are to do; the 80% that were there took no time.
    assert split(lines[1]) == ("[run 1 of 2] long  85%  elapsed 05:00", 115)
    assert split(lines[-2]) == ("[run 2 of 2] long   5%  elapsed 25:00", 95)
