"""The contest as data: constants, leaderboard history, canonical figures of the validation set. Versioned by date."""
