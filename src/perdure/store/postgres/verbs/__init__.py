"""The store's verbs, each one statement: what they do is in the migrations' functions."""
