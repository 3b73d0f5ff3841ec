"""Tasks on Redis and Valkey: streams with consumer groups, on the servers of a channel layer."""
