"""Models: where their files come from, what they take and give, what runs them, and the node that feeds them."""
