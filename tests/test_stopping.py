"""A signal that asks to end unwinds the work, once, and its number is the exit status."""

import contextlib
import signal
import subprocess

import pytest

from pipeline.stopping import Terminated, how_stopped, stoppable, stopped


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


@pytest.mark.parametrize(("stop", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_signal_that_others_take_for_an_error_is_remembered_as_long_as_it_can_be_told(heard, stop, kind):
    with stoppable():
        assert stopped() is None
        with pytest.raises(RuntimeError):
            try:
                signal.raise_signal(stop)
            except BaseException as error:
                raise RuntimeError("as Beam does") from error
        assert type(stopped()) is kind
    assert stopped() is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_beam_takes_a_signal_for_an_error_of_its_step(heard, stop):
    import apache_beam as beam

    def step(_: int) -> None:
        signal.raise_signal(stop)

    with stoppable():
        with pytest.raises(Exception, match="while running"), beam.Pipeline(runner="FnApiRunner") as pipeline:
            pipeline | beam.Create([1]) | beam.Map(step)
        assert stopped() is not None


def test_what_a_stopped_process_starts_can_be_stopped_and_a_second_signal_cuts_nothing_short(heard):
    with stoppable(), contextlib.suppress(Terminated):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            ended = subprocess.run(["/bin/sh", "-c", "kill -TERM $$; exit 5"]).returncode
    assert ended == -signal.SIGTERM
