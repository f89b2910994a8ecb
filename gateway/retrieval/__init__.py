"""Documents that ground answers: kept in SQL as chunks with vectors, searched in memory."""
