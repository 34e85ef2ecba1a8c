/** The runtime that `npm run bench` measures, in this process and in those that it starts. */
import { loadNative, type NativeAddon } from '../../src/native/addon.js'

export const runtimes = ['stock', 'native'] as const

/** Before any engine or process is started. */
export function measureRuntime(runtime: (typeof runtimes)[number]): void {
  process.env.FACET_RUNTIME = runtime
}

/** The native runtime, where that is measured. @throws Error where it is not built */
export function measuredNative(): NativeAddon | undefined {
  return process.env.FACET_RUNTIME === 'native' ? loadNative() : undefined
}
