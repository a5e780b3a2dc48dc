"""A batch that repeats classes is said to, where losses take only an image's own caption for its positive."""

import pytest

from tests.commands.helpers import composed, hydra_context
from tracer_lightning.commands.train import run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("positives", "batch_size", "said"),
    [("diagonal", 11, True), ("diagonal", 10, False), ("same_label", 256, False)],
)
def test_other_images_of_a_class_are_expected_from_one_for_each_on(tmp_path, capsys, positives, batch_size, said):
    options = (f"positives={positives}", f"data.batch_size={batch_size}", "trainer.limit_train_batches=1")
    with hydra_context():
        run(composed(tmp_path, *options, "trainer.max_epochs=1", "trainer.limit_test_batches=1"))
    line = "warning: a batch of 11 has about 6 pairs of images of one class (1.0 for each image, of 10 classes), and"
    assert (line in capsys.readouterr().out.replace("\n", " ")) == said
