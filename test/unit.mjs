/**
 * The tests for daily work, `npm run test:unit`: no process besides the tests' own, no kills, nothing that takes long.
 *
 * Every test file belongs to it but those named here. Keep it under half a minute on two cores.
 */

/** Files, without `.test.ts`, or the beginning of a name before a `*`. */
const LEFT_OUT = [
  // The whole service, as a process or in this one.
  'service-*',
  'samples',
  'imagenet-family',
  'own-pages',
  'soak',
  // Other processes, sockets, time limits.
  'store-kill',
  'store-lock',
  'http-connections',
  'http-limits',
  'http-sockets',
  // The engine's threads, or families built and run.
  'engine-*',
  'native-lanes',
  'native-exit',
  'canary',
  'registry-engine',
  'family-*',
  'compiler-*',
  // Very many cases.
  'store-recovery',
  'store-faults',
  'registry-interleavings',
  'residency-hot',
  'scheduler-fairness',
  'pack-write',
  'image-apart',
  'image-deadline',
  'image-formats',
  'image-headers',
  'image-plain',
  'image-refusal',
  'small-png',
  'onnx-*',
  'fuzz-*',
  'naive',
  'typescript-client',
  'clients-page',
  'docs-page',
  // Pages, dependencies and benchmarks, which a change of code seldom touches.
  'docs',
  'security-doc',
  'dependencies',
  'bench-*',
]

/** @param {string} name of a test file, without `.test.ts` */
export const isUnit = (name) =>
  !LEFT_OUT.some((one) => (one.endsWith('*') ? name.startsWith(one.slice(0, -1)) : name === one))
