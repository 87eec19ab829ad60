"""How much a schema may ask for, and how much its use: each limit with its arithmetic."""

MIB = 1024 * 1024

# JSON of more than TAKHIN_MAX_NESTING levels (100) is refused anyway, so deeper types could not be filled.
MOST_DEPTH = 100
# Types, fields and branches, with those of referenced schemas. Each takes 0.6 to 1.5 kB compiled, so 30 MB in all; a
# schema of 1 MiB of text has room for 40,000 of the smallest fields, and real ones have hundreds.
MOST_NODES = 20_000
# An object or string that fits the last branch alone is tried against each twice: 2,000 trials of 3 microseconds.
MOST_BRANCHES = 1000
# Decimals convert in quadratic time: 10,000 digits take a millisecond, and are about 4 kB of binary.
MOST_DIGITS = 10_000
# What one value may take, or all the defaults of a schema: a trial of a branch is two steps and takes up to 3
# microseconds, a field that is left out 0.1. So less than a second; a record of 1 MiB with 100,000 objects, each
# of which fits the second branch that is tried, takes 400,000.
MOST_STEPS = 500_000
STEPS_OF_TRIAL = 2
# The clock is looked at once in so many steps: every few milliseconds.
STEPS_BETWEEN_LOOKS = 4096
# What unions remember of their trials, in times of the largest record: each of its bytes inside 32 contested unions.
TIMES_REMEMBERED = 32
# An item that takes no bytes (null, an empty record) costs its writer nothing, and the reader memory.
MOST_EMPTY = 100_000
# Names may be as long as the schema, and thousands of records may each have a message.
MOST_EXPECTED = 300
