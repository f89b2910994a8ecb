"""``make bench``: what is measured rather than tested. Ratios against a peer in the same run; no figure is a test."""

import gateway  # noqa: F401 (before numpy: see there)
