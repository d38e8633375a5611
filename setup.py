"""Package description of vispropnet."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    """Reads the version without importing the package."""
    for line in (ROOT / 'vispropnet' / '__init__.py').read_text(encoding='utf-8').splitlines():
        if line.startswith('__version__'):
            return line.split("'")[1]
    raise RuntimeError('vispropnet/__init__.py has no __version__')


setup(
    name='vispropnet',
    version=read_version(),
    description='Research training framework for video instance segmentation',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['vispropnet', 'vispropnet.*']),
    package_data={'vispropnet.trials.report': ['templates/*']},
    python_requires='>=3.10',
    install_requires=[
        'torch>=2.4',
        'torchvision>=0.19',
        'onedl-mmengine>=0.10.12,<1',
        'onedl-mmcv>=2.3.6,<3',
        'onedl-mmdetection>=3.5.1,<4',
        'pycocotools>=2.0.7',
        'numpy>=1.26',
        'scipy>=1.11',
        'opencv-python>=4.8',
        'pillow>=11.3',
        'tensorboard>=2.14',
        'matplotlib>=3.8',
        'tqdm>=4.66',
        'av>=12',
        'jinja2>=3.1',
    ],
    extras_require={
        'dev': ['pytest>=8', 'pytest-xdist>=3.6', 'ruff>=0.6', 'mkdocs-material>=9.5'],
    },
)
