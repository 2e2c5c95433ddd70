"""Several trainings of one recipe, by seed and by setting, and the choice among them on validation alone."""
