"""What makes the data that the package ships, for its developers; not in the wheel.

``tools.catalogue`` writes the bundled models and prices, ``tools.priors`` where quality starts,
``tools.train_classifier`` the weights of the type classifier.
"""
