"""How a command ends that is stopped: Ctrl-C, SIGTERM and SIGHUP unwind it alike, so that nothing is left open.

The exit status is 128 and the number of the signal, as shells have it: 130 (Ctrl-C), 143 (SIGTERM), 129 (SIGHUP).

Synopsis:

    with stoppable():
        pass                                # the work; a SIGTERM raises Terminated in it, which is a KeyboardInterrupt
    how_stopped(Terminated(15))             # ("terminated", 143)
"""

import contextlib
import signal
import threading
from collections.abc import Iterator

_heard: list[KeyboardInterrupt] = []


class Terminated(KeyboardInterrupt):
    """A signal that asks to end; `args` has its number."""


def stopped() -> KeyboardInterrupt | None:
    """Returns what was raised for the first signal within `stoppable`, None if there was none.

    Who runs others' code asks this behind it: Beam raises what it met as an error of another type, and what meets a
    finalizer is swallowed.
    """
    return _heard[0] if _heard else None


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Has SIGTERM and SIGHUP raise `Terminated` in the main thread; what is ignored, as by nohup, stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    interrupt = signal.getsignal(signal.SIGINT)
    _heard.clear()

    def stop(number: int, _: object) -> None:
        # Once is enough: a second one must not cut short how the first is settled. Not SIG_IGN: every program that is
        # started from then on would inherit it, and no SIGTERM would end that.
        for other, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(other, lambda *_: None)
        _heard.append(Terminated(number))
        raise _heard[-1]

    def interrupted(*_: object) -> None:
        _heard.append(KeyboardInterrupt())
        raise _heard[-1]

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        _heard.clear()
        if interrupt is signal.default_int_handler:
            signal.signal(signal.SIGINT, interrupt)
        for number, handler in before.items():
            # None: set by another language, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def how_stopped(error: KeyboardInterrupt) -> tuple[str, int]:
    """Returns "interrupted" or "terminated", and the exit status."""
    if isinstance(error, Terminated):
        return "terminated", 128 + error.args[0]
    return "interrupted", 128 + signal.SIGINT
