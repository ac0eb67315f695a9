"""The science of single-basin: ensembles as stacks of networks, their training, connectivity and quality."""
