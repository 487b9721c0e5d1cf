"""Arrays to picture bytes, without side effects."""
