"""The online path: answers live calls, and knows nothing of Prefect, MLflow or Evidently."""

import os

# Before numpy is imported for the first time. Its BLAS would share even a multiplication of half a millisecond among
# all cores, and wait for the busy ones: with other workers beside it, a search in 3,000 vectors took 8 ms instead of
# 0.1. Workers use the cores; a multiplication has one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
