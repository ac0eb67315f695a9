"""Reads the Arrow tables of one sweep; draws figures, tables and a summary of them."""
