"""The decision, pure: a snapshot and a recorded run in, a plan out."""
