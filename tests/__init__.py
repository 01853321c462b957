"""The tests. The network is simulated at the wire; MLflow is real."""
