"""A record becomes a site. Nothing here imports torch."""
