"""The edge: bytes to a decoded object, or to an error that says who does what next."""
