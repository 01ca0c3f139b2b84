from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from detect.latest import LatestSlot


def test_an_empty_slot_gives_none() -> None:
    slot: LatestSlot[int] = LatestSlot()

    assert slot.take() is None
    assert not slot.is_full


def test_put_tells_whether_it_replaced() -> None:
    slot: LatestSlot[str] = LatestSlot()

    assert slot.put("old") is False
    assert slot.is_full
    assert slot.put("new") is True
    assert slot.take() == "new"
    assert slot.take() is None
    assert slot.put("next") is False
    assert slot.n_replaced == 1


@given(steps=st.lists(st.booleans(), max_size=200))
def test_whatever_the_order_nothing_is_lost_uncounted(steps: list[bool]) -> None:
    slot: LatestSlot[int] = LatestSlot()
    n_put, taken = 0, []
    for is_put in steps:
        if is_put:
            n_put += 1
            slot.put(n_put)
        elif (item := slot.take()) is not None:
            taken.append(item)
            assert item == n_put, "an older item than the newest was handed over"

    assert n_put == len(taken) + slot.n_replaced + slot.is_full
    assert taken == sorted(taken)


def test_a_producer_and_a_consumer_in_two_threads_agree() -> None:
    slot: LatestSlot[int] = LatestSlot()
    n_items = 5_000
    taken: list[int] = []
    is_done = threading.Event()

    def consume() -> None:
        while not (is_done.is_set() and not slot.is_full):
            item = slot.take()
            if item is not None:
                taken.append(item)

    consumer = threading.Thread(target=consume)
    consumer.start()
    n_replaced = sum(slot.put(item) for item in range(1, n_items + 1))
    is_done.set()
    consumer.join(timeout=10)

    assert not consumer.is_alive()
    assert taken == sorted(set(taken))
    assert taken[-1] == n_items
    assert len(taken) + n_replaced == n_items
    assert slot.n_replaced == n_replaced
