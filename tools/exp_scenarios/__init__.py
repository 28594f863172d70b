"""Situations that teams meet, run through the whole platform: the truth beside what was said of it.

`scenario` says what a situation is and carries it out, `shop` makes data where the synthetic source does not suffice,
`verdicts`, `trust` and `traps` hold the situations (`listed`: all of them), `page` writes them down.
"""
