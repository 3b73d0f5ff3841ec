"""Redis streams carry the messages: one inbox for each process."""
