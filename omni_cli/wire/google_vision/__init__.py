"""Google's Cloud Vision."""
