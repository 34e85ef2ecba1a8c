/** Cells of the array that a test shares with `faulty-worker.ts`. */

export const RUNS = 0
export const NEXT_RUN = 1
export const IN_RUN = 2
export const RELEASE = 3
export const SESSIONS = 4

/** What a run of the trunk meets: nothing, an error, the end of the thread, an uncaught error, or a wait. */
export const Fault = { none: 0, throws: 1, exits: 2, crashes: 3, waits: 4 } as const
export type Fault = (typeof Fault)[keyof typeof Fault]
