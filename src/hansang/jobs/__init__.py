"""Answers that come later: what is known of them, and where it is kept."""
