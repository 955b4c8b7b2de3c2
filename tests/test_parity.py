"""What tests/parity says of the original implementations is what their full fixtures say."""

import pytest
from parity.sample import sample
from reference_fill import fixtures


def test_the_samples_are_those_of_the_full_fixtures(reference):
    if reference is None:
        pytest.skip("needs POSE_TEST_REFERENCE, the full parity fixtures")
    for kind, entries in sample(reference).items():
        assert fixtures(kind) == entries, kind
