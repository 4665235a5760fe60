"""The bundled catalogue of models and prices: how it is made, read and refreshed."""
