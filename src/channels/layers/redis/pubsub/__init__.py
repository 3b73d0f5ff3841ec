"""Redis pub/sub carries the messages: one topic for each group."""
