"""Voting: ballots, who votes and with what weight, verdicts, and how sure a score is."""
