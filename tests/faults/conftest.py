from tests.shared_fixtures import quicker_runs, shapes, small, trained  # noqa: F401
