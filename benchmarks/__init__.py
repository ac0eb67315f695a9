"""How fast the project is, beside what a user would write and beside the machine's own limit."""
