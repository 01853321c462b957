"""What things cost, measured on the machine at hand; ``make bench`` prints the tables."""
