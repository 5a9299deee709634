"""arq's own tests, run against our worker and our pool: ``bin/test --compat``."""
