"""Things that only listen: nothing else in the package imports them."""
