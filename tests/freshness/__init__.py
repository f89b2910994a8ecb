"""Whether an answer can be older than what was acknowledged: documents keep changing, and readers would see."""
