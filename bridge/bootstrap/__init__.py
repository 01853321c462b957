"""Put the parts together as the configuration says."""
