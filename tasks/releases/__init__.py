"""Releases: the SQL row is the truth; routing table and MLflow alias are projections of it. Imports neither."""
