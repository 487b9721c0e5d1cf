"""Pure arithmetic on arrays."""
