"""Reverse-mode differentiation: from a program and the rule table to gradients."""
