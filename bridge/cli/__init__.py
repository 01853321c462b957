"""The commands that users call, one file a command. A command's imports load when it runs."""

from bridge.cli.app import main

__all__ = ["main"]
