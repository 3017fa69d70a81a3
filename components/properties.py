"""Names of custom properties of artifacts that more than one component, or a command, reads."""

# Of the examples of a span, what it is ordered by, and which correction of it they are.
SPAN_NUMBER, SPAN_VERSION = "span_number", "span_version"
# Of statistics, of a blessing of data and of a model: the examples that they are of.
EXAMPLES_ID = "examples_id"
# Of statistics: what the data are like in a few numbers.
PROFILE = "profile"
# Of a model: what it was exported from.
TRAINED_ID = "trained_id"
# Of what the Trainer learned: the name of the checkpoint that may go once it is exported.
CHECKPOINT = "checkpoint"
# Not a property: the input of the gate that is the model which it asks about the labels of a new span.
ASKED_MODEL = "served_model"
# Of predictions: the model whose answers are the baseline's among them, if there are any.
BASELINE_ID = "baseline_id"
