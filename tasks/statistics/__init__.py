"""The statistics of a release: pure decisions on numbers, with neither I/O nor a clock of their own."""
