"""The parts that commands share: options, output, progress, and exit codes."""
