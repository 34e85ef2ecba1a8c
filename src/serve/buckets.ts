/** The buckets of all histograms, in one place. */

/** Seconds, from the decoding of a small image to the longest wait of a request. */
export const durationBuckets = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
]
/** Seconds; few, because each domain has them all. */
export const predictBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]
/** Seconds: an eviction after a second is thrash, after hours it is tidying. */
export const ageBuckets = [0.1, 1, 10, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600]
/** Images and domains of a batch. */
export const countBuckets = [1, 2, 4, 8, 16, 32, 64, 128, 256]
