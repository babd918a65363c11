"""Threads that take jobs from one list and deliver in order."""

import itertools
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.in_order import Job, _Line, beforehand, deliver_in_order, result_of


def piece(number, pause_s=0.0):
    def work(room):
        room.append(number)
        time.sleep(pause_s)
        return number, room

    return Job(work)


@settings(max_examples=40, deadline=None)
@given(
    pauses=st.lists(st.sampled_from([0.0, 1e-4, 2e-3]), max_size=30),
    silent=st.sets(st.integers(0, 29)),
    threads=st.integers(1, 4),
)
def test_pieces_are_delivered_in_order_each_from_its_own_room(pauses, silent, threads):
    delivered, done = [], []

    def job(number, pause_s):
        if number not in silent:
            return piece(number, pause_s)
        return Job(lambda _room: done.append(number), delivers=False)

    def deliver(made):
        number, room = made
        # Nothing has been made in the room since.
        assert room[-1] == number
        delivered.append(number)

    rooms = [[] for _ in range(threads)]
    deliver_in_order(map(job, itertools.count(), pauses), rooms, deliver)
    assert delivered == [k for k in range(len(pauses)) if k not in silent]
    assert sorted(done) == [k for k in range(len(pauses)) if k in silent]
    assert sorted(itertools.chain(*rooms)) == delivered


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_an_interrupt_between_jobs_leaves_nobody_waiting(nth, monkeypatch):
    # As a signal may come at any place: the thread that is interrupted has taken a job and not begun it.
    take, taken = _Line._take, []

    def interrupted(self):
        found = take(self)
        if threading.current_thread() is caller:
            taken.append(found)
            if len(taken) == nth:
                raise KeyboardInterrupt
        return found

    def jobs():
        while True:
            # Each thread makes what the other waits for.
            pair = [beforehand(lambda: time.sleep(1e-3)) for _ in range(2)]
            for job, _ in pair:
                yield job
            for _, made in pair[::-1]:
                yield Job(lambda _room, made=made: result_of(made), delivers=False)

    caller = threading.current_thread()
    monkeypatch.setattr(_Line, "_take", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        deliver_in_order(jobs(), [0, 1, 2], lambda made: None)
    assert threading.active_count() == before


def test_an_interrupt_while_the_others_end_waits_for_them(monkeypatch):
    ended = []

    def slow(room):
        time.sleep(0.05)
        ended.append(room)

    join, calls = threading.Thread.join, []

    def interrupted(thread, timeout=None):
        calls.append(thread)
        if len(calls) == 1:
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        deliver_in_order(iter([Job(slow, delivers=False)] * 2), [0, 1], lambda made: None)
    assert len(ended) == 2
    assert threading.active_count() == before


def test_whoever_waited_while_the_list_failed_does_not_ask_it_again():
    # What the next part of the list waits for is made by a job that never comes.
    never, first_made = beforehand(lambda: None)[1], threading.Event()

    def fail():
        first_made.wait(10)
        time.sleep(0.05)
        raise OSError("disk full")
        yield

    def waits_for_ever():
        yield result_of(never)

    jobs = itertools.chain([Job(lambda _room: first_made.set(), delivers=False)], fail(), waits_for_ever())
    with pytest.raises(OSError, match="disk full"):
        deliver_in_order(jobs, [0, 1], lambda made: None)


def test_too_many_threads_end_with_their_error(monkeypatch):
    start, begun = threading.Thread.start, []

    def refuse(thread):
        begun.append(thread)
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    before = threading.enumerate()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        deliver_in_order((piece(k, 1e-3) for k in range(10_000)), [[], [], []], lambda made: None)
    assert len(begun) == 2
    assert threading.enumerate() == before


def test_rooms_are_worked_in_side_by_side():
    # Neither job ends before the other has begun.
    both = threading.Barrier(2, timeout=10)
    deliver_in_order(iter([Job(lambda _room: both.wait())] * 2), [None, None], lambda made: None)


def test_what_later_jobs_need_comes_to_them_from_whichever_thread_makes_it():
    job, made = beforehand(lambda: time.sleep(0.01) or "ready")
    delivered = []
    jobs = [job, *[Job(lambda _room: result_of(made))] * 5]
    deliver_in_order(iter(jobs), [None] * 3, delivered.append)
    assert delivered == ["ready"] * 5


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("where", ["job", "iterator", "deliver", "beforehand"])
def test_the_first_error_ends_all_and_what_came_before_is_delivered(where, error, threads):
    delivered = []

    def fail(*_):
        raise error

    def jobs():
        for k in range(100):
            if k == 6 and where == "iterator":
                fail()
            if k == 6 and where == "beforehand":
                job, made = beforehand(fail)
                yield job
                yield Job(lambda _room, made=made: result_of(made))
            yield Job(fail) if k == 6 and where == "job" else piece(k, 1e-3)

    def deliver(made):
        if made[0] == 6 and where == "deliver":
            fail()
        delivered.append(made[0])

    before = threading.active_count()
    with pytest.raises(type(error)) as raised:
        deliver_in_order(jobs(), [[] for _ in range(threads)], deliver)
    assert raised.value is error
    # Pieces under way may have been given up, but none is left out and none comes after the error.
    assert delivered == list(range(len(delivered)))
    assert 6 - threads <= len(delivered) <= 6
    assert threading.active_count() == before
