/**
 * The array that a test shares with the lanes: how many numbers it has, and what is where. JavaScript, because it is also
 * loaded into the compiled program (`native-control.mjs`). native/src/faults.rs has the same numbers.
 */

export const LENGTH = 6
export const RUNS = 0
export const NEXT_RUN = 1
export const IN_RUN = 2
export const RELEASE = 3
export const SESSIONS = 4
export const NEXT_UPLOAD = 5

/**
 * Faults of a run of the trunk: none, an error, the thread exits, an uncaught error, the run waits, or (native lanes
 * only) it panics, or it fails as on a GPU that is lost, or that has no memory left. Of a row's way to a device: an error,
 * or the device is lost.
 */
export const Fault = /** @type {const} */ ({
  none: 0,
  throws: 1,
  exits: 2,
  crashes: 3,
  waits: 4,
  panics: 5,
  loses: 6,
  fills: 7,
})
/** @typedef {(typeof Fault)[keyof typeof Fault]} Fault */
