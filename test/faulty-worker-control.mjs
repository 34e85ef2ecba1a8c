/**
 * The array that a test shares with the lanes: how many numbers it has, and what is where. JavaScript, because it is also
 * loaded into the compiled program (`native-control.mjs`). native/src/faults.rs has the same numbers.
 */

export const LENGTH = 5
export const RUNS = 0
export const NEXT_RUN = 1
export const IN_RUN = 2
export const RELEASE = 3
export const SESSIONS = 4

/**
 * Faults of a run of the trunk: none, an error, the thread exits, an uncaught error, the run waits, or (native lanes
 * only) it panics.
 */
export const Fault = /** @type {const} */ ({ none: 0, throws: 1, exits: 2, crashes: 3, waits: 4, panics: 5 })
/** @typedef {(typeof Fault)[keyof typeof Fault]} Fault */
