"""What happens to files on disks and on their way: changes to their bytes, at random."""


def flip(content, rng):
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def truncate(content, rng):
    del content[rng.randrange(len(content)) :]


def blank(content, rng):
    """A block that the disk lost."""
    start, length = rng.randrange(len(content)), rng.choice([16, 512, 4096])
    content[start : start + length] = bytes(len(content[start : start + length]))


def swap(content, rng):
    """Two blocks in each other's place."""
    length = len(content) // 8
    first, second = sorted(rng.sample(range(0, len(content) - length, length), 2))
    piece = content[first : first + length]
    content[first : first + length] = content[second : second + length]
    content[second : second + length] = piece


def insert(content, rng):
    place = rng.randrange(len(content))
    content[place:place] = rng.randbytes(rng.choice([1, 64]))


DAMAGES = (flip, truncate, blank, swap, insert)
