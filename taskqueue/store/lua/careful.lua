-- Loaded behind wrong_types.lua, before a script that may use careful() for all commands: a chore.
redis.call = with_care().careful

