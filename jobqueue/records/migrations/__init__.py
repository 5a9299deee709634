"""The schema's history, one file a version, run by `jobqueue.records.schema`.

A change of ``models.py`` comes with a new file ``versions/v<number>_<what>.py`` whose ``down_revision`` is the last
one's number. A version that has been released never changes. A table that is rebuilt on SQLite (Alembic's batch mode)
loses its triggers: make those of ``audit_log`` again.
"""
