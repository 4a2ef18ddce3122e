"""What API and workers share: neither Flask nor HTTP serving is known here."""
