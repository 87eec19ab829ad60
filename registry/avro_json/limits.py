"""Limits for schemas and values, with the arithmetic behind each."""

MIB = 1024 * 1024

# JSON nested deeper than TAKHIN_MAX_NESTING (100) is rejected anyway, so deeper types could not be used.
MOST_DEPTH = 100
# Types, fields and branches, including those of referenced schemas. Each takes 0.6 to 1.5 kB when compiled, so 30 MB in
# total. A schema of 1 MiB has room for 40,000 of the smallest fields; real schemas have hundreds.
MOST_NODES = 20_000
# A value that matches only the last branch is tried twice against each branch: 2,000 trials of 3 microseconds.
MOST_BRANCHES = 1000
# Decimals convert in quadratic time: 10,000 digits take a millisecond, and about 4 kB of binary.
MOST_DIGITS = 10_000
# The limit for one value, or for all defaults of a schema. Trying a branch counts as two steps and takes up to 3
# microseconds, a missing field 0.1, so the limit is less than a second. A record of 1 MiB with 100,000 objects, each
# of which matches the second branch tried, takes 400,000.
MOST_STEPS = 500_000
STEPS_OF_TRIAL = 2
# The clock is checked once in this many steps: every few milliseconds.
STEPS_BETWEEN_LOOKS = 4096
# The size of the unions' cache, as a multiple of the largest record: each byte can be inside 32 contested unions.
TIMES_REMEMBERED = 32
# A zero-length item (null, an empty record) costs its writer nothing, but takes memory in the reader.
MOST_EMPTY = 100_000
# Names may be as long as the schema, and a request may return thousands of messages.
MOST_EXPECTED = 300
