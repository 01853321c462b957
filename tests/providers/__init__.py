"""Tests of ``bridge.providers``."""
