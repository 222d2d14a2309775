"""Data in other shapes than Nonet's, made into its rows. Knows no batch."""
