from tests.shared_fixtures import shapes, small, trained, unformatted_configs  # noqa: F401
