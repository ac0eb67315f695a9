"""Search: draws configurations, chooses the best, and runs them on further seeds."""
