"""One module per version, found and ordered by Alembic; imported by nobody else."""
