"""One small file a contender. Each runs in its own environment, so nothing here may import the project or the bench."""
