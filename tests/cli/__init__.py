"""Tests of ``bridge.cli``."""
