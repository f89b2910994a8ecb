"""HTTP translation only: one file per resource."""
