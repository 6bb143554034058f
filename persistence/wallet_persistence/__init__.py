"""Adapters: everything that the engine keeps, in Postgres and in Redis, behind its ports."""
