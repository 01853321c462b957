"""The functions of ``import bridge``."""
