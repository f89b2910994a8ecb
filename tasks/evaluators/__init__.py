"""What an answer is worth: checks of its text, and a model that judges it. Scores lie in [0, 1]."""
