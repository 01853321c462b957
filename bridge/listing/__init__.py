"""Lists of the jobs in MLflow, for a terminal and for the daemon's page."""
