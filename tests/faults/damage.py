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
    one, other = (slice(start, start + length) for start in (first, second))
    content[one], content[other] = content[other], content[one]


def insert(content, rng):
    place = rng.randrange(len(content))
    content[place:place] = rng.randbytes(rng.choice([1, 64]))


DAMAGES = (flip, truncate, blank, swap, insert)
