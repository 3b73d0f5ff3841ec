"""What the site and its tests must agree on."""

# Seconds that a check of the site may take.
TIMEOUT = 1.0
