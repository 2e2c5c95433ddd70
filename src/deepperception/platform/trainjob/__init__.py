"""Training as several processes: the step of a pipeline makes a TrainJob of Kubeflow's Trainer, and waits for it."""
