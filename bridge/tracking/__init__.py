"""MLflow: the only package that imports it, and the bridge's only memory.

Reads what is recorded, writes what plans say, and says in ``bridge.errors`` what went wrong.
Nothing is decided here, but which of two things that should be one stays.
"""

from bridge.tracking.writer import Tracking, Written

__all__ = ["Tracking", "Written"]
