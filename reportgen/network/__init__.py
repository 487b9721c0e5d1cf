"""Walking a network: its graph, and one node's value at a time."""
