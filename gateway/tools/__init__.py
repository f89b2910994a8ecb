"""Tools that the gateway executes itself when a model asks for them."""
