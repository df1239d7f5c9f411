"""The server that the clients talk to, and the questions that they ask it."""

import os
import urllib.request

import pytest
import support

# Clients that would otherwise call home, or look for a price list on the network, when they are imported.
os.environ.update(
    HAYSTACK_TELEMETRY_ENABLED="False",
    HF_HUB_DISABLE_TELEMETRY="1",
    LANGSMITH_TRACING="false",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    NO_PROXY="127.0.0.1,localhost",
    no_proxy="127.0.0.1,localhost",
)
# A key of the developer's own must never reach the server under test.
for name in ("COHERE_API_KEY", "CO_API_KEY", "VOYAGE_API_KEY", "NVIDIA_API_KEY", "TOGETHER_API_KEY", "HF_TOKEN"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def url():
    """The server's address, once it is ready; tests/clients/run.sh starts it."""
    address = os.environ.get("RESCORED_URL")
    if not address:
        pytest.fail("RESCORED_URL: not set; run these tests by `make test-clients`", pytrace=False)
    with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:
        assert answer.status == 200
    return address


@pytest.fixture(params=support.cases(), ids=lambda case: case.name)
def case(request):
    return request.param
