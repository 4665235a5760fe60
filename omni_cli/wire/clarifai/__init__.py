"""Clarifai's image models."""
