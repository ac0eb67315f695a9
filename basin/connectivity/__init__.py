"""Connectivity: scores of the networks on and between straight paths from member to member."""
