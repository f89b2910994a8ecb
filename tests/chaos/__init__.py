"""A gateway under steady load while what it stands on fails, and what must hold then: see ``trial.py``."""
