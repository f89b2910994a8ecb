"""Rate limits and budgets: who may ask how often, for how many tokens, for how much money; shared by all workers."""
