"""What comes in: models with their weights, and images."""
