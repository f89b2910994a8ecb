"""Who calls: API keys, of which only hashes are kept, and what they may do."""
