"""Data sets in memory, streams, their batches, latents, and pictures of samples.

registry.py       DATASETS and open_dataset: data sets by name or path
dataset.py        Dataset (in memory), and Readable, the interface that Dataset and Stream share
toys.py           built-in data: points, digits, and no images at all
sources.py        images from files and from the Hugging Face hub
location.py       the kind of data behind a path or hub id
images.py         images from files and tables, decoded into one tensor
image_folder.py   folders of images
decode.py         a safe reader of image files
labels.py         labels of tables and the names of their classes
conditioning.py   images and captions that examples are conditioned on
captions.py       captions filled in from the columns of a table
stream.py         Stream: data read during training
stream_source.py  StreamSource: the table that a stream reads
lane.py           Lane: one endless pass over some of a stream's shards
order.py          the order of examples
batch.py          Batch (examples on a device) and Rows (examples on the host)
loader.py         Loader: batches in order, read ahead
latents.py        encoded images and embedded captions, for latent diffusion models
shards.py         tensors stored as several files
image_grid.py     samples drawn as pictures
image_files.py    samples as PIL images and PNG files

It may import from core only.
"""
