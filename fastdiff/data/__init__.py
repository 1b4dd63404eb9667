"""Data: data sets in memory, streams, their batches, latents, and pictures.

registry.py       DATASETS and open_dataset, data sets by name or path
dataset.py        Dataset, in memory, and Readable, the interface that it shares with Stream
toys.py           data made in memory: points, digits, none
sources.py        images from files and from the hub
location.py       what a path or hub id is
images.py         images from files and tables, decoded into one tensor
image_folder.py   folders of images
decode.py         image files from strangers
conditioning.py   images and captions that examples are conditioned on
stream.py         Stream, data read during training
stream_source.py  StreamSource, the table that a stream reads
lane.py           Lane, one walk through some of a stream's shards
order.py          the order of examples
batch.py          Batch, examples on their device, and Rows, on the host
loader.py         Loader, batches in their order, read ahead
latents.py        images encoded and captions embedded, for models of latents
shards.py         tensors made part by part
image_grid.py     samples as pictures

It may import from core.
"""
