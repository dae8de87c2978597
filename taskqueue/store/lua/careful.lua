-- Loaded behind wrong_types.lua, before a script that may use its careful() for all commands: a chore.
redis.call = careful

