"""Tests of ``bridge.simulator``."""
