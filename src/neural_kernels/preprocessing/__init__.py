"""From raw examples to features and targets, fitted on the training set: ``features`` is where to begin."""
