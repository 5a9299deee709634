"""The database behind `jobqueue.ports.Records`: SQLAlchemy on SQLite or PostgreSQL."""
