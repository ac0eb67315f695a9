"""Answers in sentences and tables, no stronger than their intervals allow."""
