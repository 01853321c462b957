"""The parts that commands share: they read their line, speak to a person, and end in order."""
