"""Signals as events, and the handlers before and afterwards."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from bridge.daemon.signals import reload_on_hangup, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_every_event(number: signal.Signals) -> None:
    """A signal sets every event, and the former handler is restored afterwards."""
    before = signal.getsignal(number)
    stopping, other, third = threading.Event(), threading.Event(), threading.Event()
    with stop_on_signals(stopping, other, third):
        os.kill(os.getpid(), number)
        assert stopping.wait(60)
        assert other.is_set()
        assert third.is_set()
    assert signal.getsignal(number) is before


def test_a_life_within_another_hears_signals_too() -> None:
    """A signal sets the inner events during a nested life, and the outer ones after it."""
    outer, inner = threading.Event(), threading.Event()
    with stop_on_signals(outer):
        with stop_on_signals(inner):
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.wait(60)
        assert not outer.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer.wait(60)


def test_a_hangup_asks_for_the_configuration() -> None:
    """A hangup asks for the configuration each time, and does nothing else without a terminal."""
    before = signal.getsignal(signal.SIGHUP)
    reloading = threading.Event()
    with reload_on_hangup(reloading):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
            assert reloading.wait(60)
            reloading.clear()
    assert signal.getsignal(signal.SIGHUP) is before
