"""Whether every method keeps what it promises: replicates with a known truth, judged, and the page that tells.

`bands` says how far chance may take a rate, `populations` draw Moments, `methods` are what is judged, `cells` the list
of what is judged where, `drawn` carries out one cell, `pipeline` judges the platform as a whole, `page` writes it down.
"""
