/** Indices into the array that a test shares with `faulty-worker.ts`. */

export const RUNS = 0
export const NEXT_RUN = 1
export const IN_RUN = 2
export const RELEASE = 3
export const SESSIONS = 4

/**
 * Faults of a run of the trunk: none, an error, the thread exits, an uncaught error, the run waits, or (native lanes
 * only) it panics. native/src/faults.rs has the same numbers.
 */
export const Fault = { none: 0, throws: 1, exits: 2, crashes: 3, waits: 4, panics: 5 } as const
export type Fault = (typeof Fault)[keyof typeof Fault]
