"""Prefetching: the same batches, exceptions in their place, and a thread that ends."""

import gc
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from utils.errors import UserError
from working_with_text_data.prefetch import Prefetcher
from working_with_text_data.windows import BatchLoader


class Counting:
    """0, 1, 2, …; raises where it is told to."""

    def __init__(self, stop=None, failure=None):
        self.at, self.stop, self.failure = 0, stop, failure

    def __next__(self):
        if self.at == self.stop:
            raise self.failure if self.failure is not None else StopIteration
        self.at += 1
        return self.at - 1

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_batches_are_those_of_the_loader():
    plain = BatchLoader(np.arange(500), 3, 8, seed=1)
    with Prefetcher(BatchLoader(np.arange(500), 3, 8, seed=1), 3) as loader:
        assert iter(loader) is loader and loader.tokens_per_epoch == plain.tokens_per_epoch
        for _ in range(70):
            assert all(map(torch.equal, next(loader), next(plain)))


def test_no_more_than_depth_batches_lie_ready():
    source = Counting()
    with Prefetcher(source, 2) as loader:
        assert next(loader) == 0
        time.sleep(0.2)
        assert source.at <= 1 + 2 + 1, "one given out, two ready, one in the thread's hand"


def test_an_exception_comes_after_the_batches_before_it_and_stays():
    loader = Prefetcher(Counting(stop=5, failure=OSError("the disk is gone")), 3)
    assert [next(loader) for _ in range(5)] == [0, 1, 2, 3, 4]
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            next(loader)
    assert loader.state_dict() == {"at": 5} and not threads()


def test_the_end_comes_through():
    assert list(Prefetcher(Counting(stop=4), 2)) == [0, 1, 2, 3]


def test_a_restore_after_a_failure_goes_on():
    loader = Prefetcher(Counting(stop=3, failure=ValueError("x")), 2)
    with pytest.raises(ValueError):
        for _ in range(9):
            next(loader)
    loader.load_state_dict({"at": 1})
    assert next(loader) == 1
    loader.close()


def test_closing_ends_the_thread_and_puts_the_loader_back():
    source = Counting()
    loader = Prefetcher(source, 4)
    assert [next(loader) for _ in range(3)] == [0, 1, 2]
    loader.close()
    assert not threads() and source.at == 3
    assert next(source) == 3 and [next(loader), next(loader)] == [4, 5], "it may be used again"
    loader.close()
    loader.close()


def test_a_forgotten_prefetcher_ends_its_thread():
    loader = Prefetcher(Counting(), 2)
    next(loader)
    assert len(threads()) == 1
    del loader
    gc.collect()
    deadline = time.monotonic() + 10
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not threads()


def test_a_program_may_end_without_closing():
    code = (
        "import numpy as np\n"
        "from working_with_text_data.windows import BatchLoader\n"
        "from working_with_text_data.prefetch import Prefetcher\n"
        "loader = Prefetcher(BatchLoader(np.arange(10**6), 64, 1024), 2)\n"
        "print(next(loader)[0].shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "64, 1024" in done.stdout, done.stderr


def test_states_are_copies():
    with Prefetcher(Counting(), 1) as loader:
        next(loader)
        loader.state_dict()["at"] = 99
        assert loader.state_dict() == {"at": 1}


def test_depth_zero_is_refused():
    with pytest.raises(UserError, match="depth is 0"):
        Prefetcher(Counting(), 0)
    with pytest.raises(AttributeError):
        _ = Prefetcher(Counting()).tokens_per_epoch
