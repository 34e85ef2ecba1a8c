/**
 * For modules that are loaded into the real program before anything else: faults in the lanes of the native runtime,
 * where the program has the build that takes them.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { IN_RUN, LENGTH, NEXT_RUN } from './faulty-worker-control.mjs'

/** The program's own, beside its compiled `src`. */
const file = join(
  dirname(process.argv[1] ?? ''),
  `../native/build/facet-${process.platform}-${process.arch}.node`,
)
const control = new Int32Array(new SharedArrayBuffer(LENGTH * Int32Array.BYTES_PER_ELEMENT))

/** Has the lanes that live tell that one of them is lost. */
export let loseLane = () => {}

/**
 * Takes part in the native runtime's lanes. A no-op without it.
 * @param {{ starting?: () => void, fault?: () => number, struck?: () => void }} hooks `starting` may throw, and no lane
 * starts then; `fault` is a number of faulty-worker-control.mjs, asked before each run; `struck` is called once a run is
 * in one
 */
export function onNativeRuns({ starting = () => {}, fault = () => 0, struck = () => {} }) {
  if (process.env.FACET_RUNTIME !== 'native' || !existsSync(file)) return
  const exports = createRequire(import.meta.url)(file)
  const { NativeEngine } = exports
  exports.NativeEngine = class extends NativeEngine {
    /** @param {any} options @param {any} onEvent */
    constructor(options, onEvent) {
      starting()
      super(options, onEvent, control)
      loseLane = () => onEvent({ type: 'lost', message: 'a test ends it' })
    }

    /** @param {any[]} run */
    run(...run) {
      const kind = fault()
      if (kind !== 0) {
        Atomics.store(control, NEXT_RUN, kind)
        const timer = setInterval(() => {
          if (Atomics.exchange(control, IN_RUN, 0) === 0) return
          clearInterval(timer)
          struck()
        }, 1)
      }
      return super.run(...run)
    }
  }
}
