"""Run the command line as ``python -m bridge``."""

from bridge.cli.app import main

if __name__ == "__main__":  # not in the processes that a backfill starts
    main()
