"""Questions: rows read and written, split, drawn into mixes, put into words and tokens; answers read and submitted."""
