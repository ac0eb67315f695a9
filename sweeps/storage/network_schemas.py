"""Schemas of the tables about networks, paths and predictions of a trial."""

import pyarrow as pa

from basin.api.tables import certificate_columns, hull_columns, make_column, path_columns, plane_columns
from sweeps.storage.columns import KEY


def paths_schema() -> pa.Schema:
    """One row per network on a path between two members."""
    return pa.schema([KEY, *path_columns()])


def hull_schema() -> pa.Schema:
    """One row per network of the convex hull."""
    return pa.schema([KEY, *hull_columns()])


def planes_schema() -> pa.Schema:
    """One row per network in the plane through three vertices, or a vertex near it."""
    return pa.schema([KEY, *plane_columns()])


def reliability_schema() -> pa.Schema:
    """One row per bin of confidence."""
    return pa.schema(
        [
            KEY,
            make_column("split", pa.string(), "val or test."),
            make_column("binning", pa.string(), "Bins of equal width, or of equal mass."),
            make_column("bin", pa.int64(), "Which bin, from 0."),
            make_column("lo", pa.float64(), "Lower edge, not in the bin.", "%"),
            make_column("hi", pa.float64(), "Upper edge, in the bin.", "%"),
            make_column("count", pa.int64(), "Images in the bin."),
            make_column("confidence", pa.float64(), "Mean confidence of its images.", "%"),
            make_column("accuracy", pa.float64(), "Accuracy on its images.", "%"),
        ]
    )


def certificates_schema() -> pa.Schema:
    """One row per aligned member: evidence that its function is unchanged."""
    return pa.schema([KEY, *certificate_columns()])


def predictions_schema() -> pa.Schema:
    """One row per member, image and split, if a trial stores its predictions."""
    return pa.schema(
        [
            KEY,
            make_column("split", pa.string(), "val, test, or ood: the other dataset's."),
            make_column("member", pa.int64(), "Which member, from 0."),
            make_column("image", pa.int64(), "Which image of the split, from 0."),
            make_column("label", pa.int64(), "Its class; −1 in the other dataset."),
            make_column("log_probs", pa.list_(pa.float16()), "Log-probabilities of the classes.", "nats"),
        ]
    )


def outcomes_schema() -> pa.Schema:
    """One row per network or ensemble and split: its results on every image (read with `sweeps.storage.outcomes`)."""
    halves, doubles = (pa.list_(pa.field("element", kind)) for kind in (pa.float16(), pa.float64()))  # Parquet's name
    return pa.schema(
        [
            KEY,
            make_column("split", pa.string(), "val or test."),
            make_column(
                "kind", pa.string(), "ensemble, member, soup, path (its ends too), hull, or size: means over subsets."
            ),
            make_column("policy", pa.string(), "BatchNorm policy; null for networks as trained."),
            make_column("weights", doubles, "Row of the mixing matrix over the members; null for ensembles."),
            make_column("size", pa.int64(), "Members of the ensemble; null for a network."),
            make_column("judged", pa.bool_(), "Inside a path: whether the verdict is about this pair."),
            make_column("images", pa.int64(), "Number of images."),
            make_column(
                "correct", pa.binary(), "Correctly classified images, a bit each: NumPy's packbits, null for size."
            ),
            make_column("accuracy_per_image", halves, "Share of the subsets that classify each image correctly.", "1"),
            make_column("nll", halves, "Negative log-likelihood of each image; null with outcome_nll=false.", "nats"),
            make_column(
                "calibrated_nll", halves, "NLL of each image at the cross-validated temperature, of ensembles.", "nats"
            ),
        ]
    )


def sizes_schema() -> pa.Schema:
    """One row per split and number of members: means over subsets of the members."""
    return pa.schema(
        [
            KEY,
            make_column("split", pa.string(), "val or test."),
            make_column("size", pa.int64(), "Members of each subset."),
            make_column("subsets", pa.int64(), "Subsets that the values are means over."),
            make_column("accuracy", pa.float64(), "Accuracy of the ensemble.", "%", "higher"),
            make_column("nll", pa.float64(), "Mean negative log-likelihood of the ensemble.", "nats", "lower"),
            make_column(
                "calibrated_log_likelihood",
                pa.float64(),
                "Log-likelihood at the cross-validated temperature.",
                "nats",
                "higher",
            ),
        ]
    )
