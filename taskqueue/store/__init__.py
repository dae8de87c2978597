"""Redis: connections, keys and scripts. Everything that talks to Redis goes through this room."""
