"""Find what no pass repairs by itself, and repair it if asked."""
