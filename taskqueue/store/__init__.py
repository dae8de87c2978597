"""Redis: connections, keys and scripts. Everything that talks to Redis uses this package."""
