"""Jobs as MLflow has them, as lists for people: a terminal's and the daemon's page."""
