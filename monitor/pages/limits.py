"""Limits: what the limits are today; moving them is not yet possible here."""
