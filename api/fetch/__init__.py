"""A version becomes verified bytes. Nothing of HTTP serving is known here."""
