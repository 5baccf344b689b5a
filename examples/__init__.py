"""Complete programs that use the library's public names alone."""
