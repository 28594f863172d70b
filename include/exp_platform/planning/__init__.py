"""Planning an experiment before its launch, and while it runs: users, days, power and smallest effects.

`metric_plan` is the plan of one metric, `known` what earlier users say of it, `history` the same from a file of users,
`arrivals` how users come in.
"""
