"""What speaks to Redis servers: where they are, connections, commands, errors."""
