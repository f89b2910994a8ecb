"""Classic failures of caches, each made to happen with its protection left out, and shown to be gone with it."""
