"""Users for a gateway: plays questions from a pool through the official SDK and reports what came back."""
