"""News topics: the AG News experiments, run, compared and reported."""
