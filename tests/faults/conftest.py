from tests.shared_fixtures import hastened, shapes, small, trained  # noqa: F401
