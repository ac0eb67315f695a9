"""Named seeds: every random draw is a function of (seed, purpose)."""

import hashlib

import torch


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts: sha256, never Python's per-process salted `hash`."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(*parts: object) -> torch.Generator:
    """A CPU generator seeded by `derive_seed`: the draws do not depend on the device that uses them."""
    return torch.Generator().manual_seed(derive_seed(*parts))
