"""A config whose text is formatted once, not for each checkpoint."""

from __future__ import annotations

from mmengine.config import Config


class FormattedOnceConfig(Config):
    """mmengine's config, which keeps its formatted text as long as nothing in it changes.

    Formatting takes a second or more, and the text goes into the log, into the pictures' log and
    into each checkpoint.
    """

    # What was formatted, and its text.
    _formatted: tuple[str, str] | None = None

    @classmethod
    def of(cls, config: Config) -> FormattedOnceConfig:
        """Gives a config that shares the content of another.

        Args:
            config: Any config.

        Returns:
            The config.
        """
        ours = cls.__new__(cls)
        # Past __setattr__, which sets keys of the content.
        ours.__dict__.update(config.__dict__)
        return ours

    @property
    def pretty_text(self) -> str:
        """The whole config as formatted Python."""
        content = repr(self.to_dict())
        if self._formatted is None or self._formatted[0] != content:
            self.__dict__['_formatted'] = content, super().pretty_text
        return self._formatted[1]
