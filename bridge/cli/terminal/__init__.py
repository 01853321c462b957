"""What commands have in common: they read their line, speak to a person, and end in order."""
