"""The schema's history: Alembic versions, each a short script that runs the SQL text beside it.

Migrations only add.  A new version is two files, `versions/vNNNN_name.py` and `.sql`, a new
`HEAD` in `migrate.py`, and the lines in `schema.txt` that `verify` shall then expect.
"""
