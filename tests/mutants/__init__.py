"""Mutation tests: whether a test fails where the code is wrong. ``make mutants``."""
