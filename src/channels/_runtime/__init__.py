"""What runs one connection. No public names: everything in this package may change."""
