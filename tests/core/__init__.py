"""Tests of what everybody knows."""
