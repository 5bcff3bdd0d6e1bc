"""Stands for an outside data source: hands out the Covertype data in batches over HTTP.

The modules, from the data to the wire:

* `covertype`: the table itself, and how its rows come out of the UCI matrix.
* `dataset`: the compact file form that the rows are served from.
* `build`: makes that form out of a wheel, during the image build.
* `batches`: which rows belong to which batch, and the draw from a batch.
* `progress`: which batch each group is at, in SQLite.
* `app`, `asgi`, `settings`: the HTTP service.

`covertype`, `dataset` and `build` need the standard library only.
"""
