"""The online path: answers live calls, and knows nothing of Prefect, MLflow or Evidently."""
