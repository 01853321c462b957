"""One pass over one provider: read, decide, write."""
