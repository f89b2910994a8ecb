"""Long work that is accepted at once and done later: jobs and their items. What runs them is the control plane's."""
