"""The commands that users call, one module each. A command's imports load when it runs."""

from bridge.cli.app import main

__all__ = ["main"]
