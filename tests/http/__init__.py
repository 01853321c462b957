"""Tests of ``bridge.http``."""
