"""The HTTP edge: bytes become a decoded object, or an error with a remedy."""
