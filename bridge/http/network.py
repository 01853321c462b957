"""Names that moved to ``bridge.http.transports``."""

from bridge.http.transports import LONGEST_REPLY, SLOWEST, Clock

__all__ = ["LONGEST_REPLY", "SLOWEST", "Clock"]
