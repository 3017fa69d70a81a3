"""A signal that asks to end unwinds the work, once, and its number is the exit status."""

import signal

import pytest

from pipeline.stopping import Terminated, how_stopped, stoppable


@pytest.mark.parametrize(("stop", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_unwinds_the_work_and_handlers_are_put_back(heard, stop, status):
    before, settled = signal.getsignal(stop), []
    with pytest.raises(KeyboardInterrupt) as raised, stoppable():
        try:
            signal.raise_signal(stop)
        finally:
            # Whoever loses patience does not cut short how it is settled.
            signal.raise_signal(signal.SIGTERM)
            settled.append(True)
    assert settled
    assert how_stopped(raised.value) == ("terminated", status)
    assert signal.getsignal(stop) == before


def test_what_is_ignored_stays_ignored():
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_is_an_interruption():
    assert how_stopped(KeyboardInterrupt()) == ("interrupted", 130)
    assert issubclass(Terminated, KeyboardInterrupt)
