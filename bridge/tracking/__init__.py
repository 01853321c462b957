"""Access to MLflow, the bridge's only memory. No other package imports it.

It reads the recorded runs, writes plans, and raises the errors of ``bridge.errors``. The only
decision here is which of two duplicates stays.
"""

from bridge.tracking.writer import Tracking, Written

__all__ = ["Tracking", "Written"]
