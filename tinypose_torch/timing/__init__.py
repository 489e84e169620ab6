"""How fast networks and the whole pipeline are, in every backend that is installed."""
