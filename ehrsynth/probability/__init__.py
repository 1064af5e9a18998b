"""Mathematics that knows no patient: Bayesian networks, hidden Markov models, histograms, quantiles, association."""
