"""Named channels are queues on the servers, which any process may read."""
