"""The decision: from a snapshot and a recorded run to a plan. Pure."""
