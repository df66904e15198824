"""Running a submission's own script, unmodified, on small data and one CPU, and writing down what it does."""
