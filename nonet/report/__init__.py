"""The report of a run: one HTML file that needs nothing else, made from storage.

`facts` reads, `timeline` orders attempts, `figures` draws (as SVG, through `svg`), `page` writes. Nothing here decides
or changes anything; no vote depends on it.
"""
