"""The script as a program: settings it reads, what its code does."""
