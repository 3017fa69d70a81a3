"""Names that every stage shares: the two features of a record, how they are stored, and the classes of Fashion-MNIST.

A record is a `tf.train.Example` of exactly two features, `image` (one bytes value) and `label` (one int64 value).
"""

IMAGE = "image"
LABEL = "label"

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)

ENCODINGS = ("tensor", "jpeg", "png")
# How an image of another size is fitted into that of the data set.
FITS = ("pad", "crop", "stretch")
COMPRESSIONS = ("", "GZIP")
# How the bytes of a picture begin, by encoding; a serialized tensor has a header of its own for each shape.
MAGIC = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff"}
SEVERITIES = ("warning", "error")

# What TFX's components call their files.
STATISTICS_FILE, SCHEMA_FILE, ANOMALIES_FILE = "FeatureStats.pb", "schema.pbtxt", "SchemaDiff.pb"

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
