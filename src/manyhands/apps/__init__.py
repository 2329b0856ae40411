"""Applications, built on the public names alone."""
