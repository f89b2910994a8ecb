"""Model providers. A retry, a breaker and a fallback chain are Providers too, so they compose freely."""
