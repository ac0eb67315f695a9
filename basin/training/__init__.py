"""Training a stack of networks: the loop, its objective, its constraints and its execution modes."""
